// Hooks that several pages share.
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { onLive } from "./stream.js";

const WAITS = [1000, 2000, 5000, 10_000, 15_000];

/**
 * Load a value: `{value, error, isLoading, reload, set}`. `load` gets a signal that aborts when the dependencies
 * change; a late answer is dropped. The old value stays while a new one loads. After an error that may pass, it is
 * loaded again: later and later, and at once when the stream of events is live again.
 */
export function useLoaded(load, dependencies) {
  const [state, setState] = useState({ value: null, error: null, isLoading: true });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, isLoading: true }));
    load(controller.signal).then(
      (value) => controller.signal.aborted || setState({ value, error: null, isLoading: false }),
      (error) => controller.signal.aborted || setState((before) => ({ ...before, error, isLoading: false })),
    );
    return () => controller.abort();
  }, [...dependencies, attempt]);
  const reload = useCallback(() => setAttempt((before) => before + 1), []);
  const set = useCallback((change) => setState((before) => ({ ...before, value: change(before.value) })), []);
  const failures = useRef(0);
  useEffect(() => {
    if (!state.error?.isTemporary) {
      failures.current = 0;
      return undefined;
    }
    const wait = WAITS[Math.min(failures.current, WAITS.length - 1)];
    failures.current += 1;
    const timer = setTimeout(reload, Math.max(wait, (state.error.retryAfter || 0) * 1000));
    const stop = onLive(reload);
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [state.error]);
  return { ...state, reload, set };
}

/** The current time, updated every `every` milliseconds. */
export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** The latest `value` that did not change for `wait` milliseconds. */
export function useSettled(value, wait = 300) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), wait);
    return () => clearTimeout(timer);
  }, [value, wait]);
  return settled;
}

/** Run `action` at most once per `wait` milliseconds, and once after the last call. */
export function useThrottled(action, wait = 1000) {
  const latest = useRef(action);
  const timer = useRef(null);
  latest.current = action;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = null;
      latest.current();
    }, wait);
  }, [wait]);
}

/** Return `{run, isBusy, error, reset}` for what a button does. */
export function useAction(action) {
  const [state, setState] = useState({ isBusy: false, error: null });
  const latest = useRef(action);
  latest.current = action;
  const run = useCallback(async (...args) => {
    setState({ isBusy: true, error: null });
    try {
      const result = await latest.current(...args);
      setState({ isBusy: false, error: null });
      return result;
    } catch (error) {
      setState({ isBusy: false, error });
      return undefined;
    }
  }, []);
  return { ...state, run, reset: () => setState({ isBusy: false, error: null }) };
}
