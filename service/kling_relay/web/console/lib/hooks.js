// Hooks that several pages share.
import { useCallback, useEffect, useRef, useState } from "./html.js";

/**
 * Load something and keep it: `{value, error, isLoading, reload, set}`. `load` gets a signal that ends when the
 * dependencies change; an answer that comes too late is dropped. What was shown stays while it is loaded again.
 */
export function useLoaded(load, dependencies) {
  const [seen, see] = useState({ value: null, error: null, isLoading: true });
  const [turn, turnTo] = useState(0);
  useEffect(() => {
    const ended = new AbortController();
    see((before) => ({ ...before, isLoading: true }));
    load(ended.signal).then(
      (value) => ended.signal.aborted || see({ value, error: null, isLoading: false }),
      (error) => ended.signal.aborted || see((before) => ({ ...before, error, isLoading: false })),
    );
    return () => ended.abort();
  }, [...dependencies, turn]);
  const reload = useCallback(() => turnTo((before) => before + 1), []);
  const set = useCallback((change) => see((before) => ({ ...before, value: change(before.value) })), []);
  return { ...seen, reload, set };
}

/** The present, looked at every `every` milliseconds. */
export function useNow(every = 1000) {
  const [now, look] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => look(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** `value` as it was before it stopped changing for so many milliseconds. */
export function useSettled(value, wait = 300) {
  const [seen, see] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => see(value), wait);
    return () => clearTimeout(timer);
  }, [value, wait]);
  return seen;
}

/** Run `act` when something happens often, at most once in `wait` milliseconds, and once after the last. */
export function useThrottled(act, wait = 1000) {
  const latest = useRef(act);
  const timer = useRef(null);
  latest.current = act;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = null;
      latest.current();
    }, wait);
  }, [wait]);
}

/** Keep `{run, isBusy, error}` of something a button does; a second click while busy does nothing. */
export function useAct(act) {
  const [seen, see] = useState({ isBusy: false, error: null });
  const latest = useRef(act);
  latest.current = act;
  const run = useCallback(async (...given) => {
    see({ isBusy: true, error: null });
    try {
      const result = await latest.current(...given);
      see({ isBusy: false, error: null });
      return result;
    } catch (error) {
      see({ isBusy: false, error });
      return undefined;
    }
  }, []);
  return { ...seen, run, forget: () => see({ isBusy: false, error: null }) };
}
