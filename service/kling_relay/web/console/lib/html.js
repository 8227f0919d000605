// The one place that knows where Preact and HTM come from.
export {
  html, render, createContext, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useContext,
  useErrorBoundary,
} from "../vendor/htm-preact.js";

let last = 0;

/** Return an id that no other element of this page has. */
export const freshId = (word) => `${word}-${++last}`;
