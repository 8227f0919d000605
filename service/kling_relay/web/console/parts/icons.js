// Line icons of 20 by 20 in the colour of the text.
import { html } from "../lib/html.js";

const PATHS = {
  try: "M10 3v3M10 14v3M3 10h3M14 10h3M5.2 5.2l2 2M12.800 12.800l2 2M14.800 5.200l-2 2M7.200 12.800l-2 2",
  tasks: "M7.500 5h9M7.500 10h9M7.500 15h9M3.500 5h.01M3.500 10h.01M3.500 15h.01",
  subscriptions:
    "M6.5 12.5a3.5 3.5 0 1 0 2.6 5.8h4.9M10 8.5 7.2 13M10 3a3.5 3.5 0 0 1 3.2 4.9l2.5 4M16 15a2.6 2.6 0 1 0-4.5-2.4",
  overview: "M3 16.500h14M5 13.500V9.500M9 13.500V4.500M13 13.500V7.500M17 13.500v-3",
  settings: "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4",
  docs: "M4 4.5A1.5 1.5 0 0 1 5.5 3H16v12H5.5A1.5 1.5 0 0 0 4 16.5v-12ZM4 16.5A1.5 1.5 0 0 0 5.5 18H16v-3M7.5 7h5",
  text2image: "M4 4h12v12H4zM4 13l3.500-3.500 3 3L13 10l3 3M8 7.500h.01",
  image2image: "M3 6.500h9v9H3zM3 13l2.500-2.500L8 13l1.500-1.500L12 14M8 3.500h9v9M15 6.500V3.500",
  text2video: "M3 5h10v10H3zM13 9l4-2.500v7L13 11",
  image2video: "M3 4h14v12H3zM8.500 7.500v5l4-2.500-4-2.500Z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "m4.500 10.500 3.500 3.500 7.500-8",
  close: "m5 5 10 10M15 5 5 15",
  back: "m12 4.500-5.500 5.500 5.500 5.500",
  next: "m8 4.500 5.500 5.500L8 15.500",
  bad: "M10 6.500v4.500M10 13.800h.01M10 2.500 18 16.500H2L10 2.500Z",
  note: "M10 9v5M10 6.300h.01M10 2.500a7.500 7.500 0 1 1 0 15 7.500 7.500 0 0 1 0-15Z",
  good: "M10 2.500a7.500 7.500 0 1 1 0 15 7.500 7.500 0 0 1 0-15ZM6.800 10.200l2.300 2.300 4.200-4.600",
  upload: "M10 13V4M6.500 7.500 10 4l3.500 3.500M4 13.500v2.500h12v-2.500",
  download: "M10 4v9M6.500 9.500 10 13l3.500-3.500M4 13.500v2.500h12v-2.500",
  play: "M6.500 4.500v11l9-5.500-9-5.500Z",
  pause: "M7 5v10M13 5v10",
  send: "M3.500 10h11M10.500 5.500 15 10l-4.500 4.500",
  again: "M15.500 7.500A6 6 0 1 0 16 11M16 4v4h-4",
  key: "M12.500 3.500a4 4 0 1 1-3.300 6.300L3.500 15.500V17H6v-2h2v-2l1.800-1.700M13 7.200h.01",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  plus: "M10 4v12M4 10h12",
  trash: "M4 6h12M8 6V4h4v2M5.500 6l.8 10.500h7.400L14.500 6",
  edit: "m4 16 .8-3.500L13 4.300l2.700 2.700-8.200 8.200L4 16Z",
  search: "M9 3.500a5.500 5.500 0 1 1 0 11 5.500 5.500 0 0 1 0-11ZM13 13l4 4",
  clock: "M10 2.500a7.500 7.500 0 1 1 0 15 7.500 7.500 0 0 1 0-15ZM10 6v4.200l2.800 1.800",
  outside: "M8 4.500H4.500v11h11V12M11.500 3.500h5v5M16.500 3.500 9.500 10.500",
  inbox: "M3 11.500 5.500 4h9l2.500 7.500v5H3v-5ZM3 11.500h4l1 2h4l1-2h4",
};

/** An icon, hidden from screen readers because a text accompanies it. */
export const Icon = ({ name }) =>
  html`
  <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"
    stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
