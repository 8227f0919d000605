// The only module that knows where Preact and HTM come from.
export {
  html,
  render,
  createContext,
  useState,
  useEffect,
  useLayoutEffect,
  useRef,
  useMemo,
  useCallback,
  useContext,
  useErrorBoundary,
} from "../vendor/htm-preact.js";

let last = 0;

/** Return an id that is unique on this page. */
export const freshId = (prefix) => `${prefix}-${++last}`;
