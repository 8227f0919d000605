// Charts drawn as SVG at the available width: stacked bars or lines; each has a hidden table for screen readers.
import { html, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { clock, moment } from "../lib/format.js";
import { locale, t } from "../lib/i18n.js";

const HEIGHT = 168;
const TIMES = [2, 4, 10, 20, 30, 60, 120, 240, 360, 600, 1200, 1800, 3600].map((seconds) => seconds * 1000);
const PAD = { top: 10, right: 4, bottom: 22, left: 52 };

/** Return a round number at or above `max`, and the values of the grid lines. */
export function scale(max, isTime = false) {
  if (!(max > 0)) return { top: 1, ticks: [0, 1] };
  if (isTime && max > 1000) {
    const round = TIMES.find((step) => step >= max * 0.999) || Math.ceil(max / 36e5) * 36e5;
    return { top: round, ticks: [0, round / 2, round] };
  }
  const size = 10 ** Math.floor(Math.log10(max));
  const steps = !isTime && max <= 10 ? [2, 4, 6, 10] : [1, 2, 3, 4, 6, 8, 10].map((step) => step * size);
  const top = steps.find((step) => step >= max * 0.999);
  return { top, ticks: [0, top / 2, top] };
}

/** The width of an element, updated when it changes. */
function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(480);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(220, Math.floor(entry.contentRect.width))));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}

/** Split points into lines wherever a value is missing; a single point is drawn as a dot. */
function runs(values, x, y) {
  const groups = [];
  let run = [];
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      if (run.length) groups.push(run);
      run = [];
    } else {
      run.push([x(index), y(value)]);
    }
  });
  if (run.length) groups.push(run);
  return groups;
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function Bars({ bins, series, x, y, width }) {
  const wide = Math.max(1.5, Math.min(18, width * 0.68));
  return bins.map((bin, index) => {
    let below = 0;
    return series.map((line) => {
      const value = bin[line.name] || 0;
      const from = y(below);
      below += value;
      return (
        value > 0 &&
        html`
        <rect
          class=${`fill ${line.tone}`} x=${(x(index) - wide / 2).toFixed(1)} y=${y(below).toFixed(1)}
          width=${wide.toFixed(1)} height=${Math.max(0.5, from - y(below)).toFixed(1)} rx="1"
        />
      `
      );
    });
  });
}

const Lines = ({ bins, series, x, y }) =>
  series.map((line) =>
    runs(
      bins.map((bin) => bin[line.name]),
      x,
      y,
    ).map(
      (points) => html`
  ${
    line.area &&
    html`
      <path class=${`area ${line.tone}`} d=${`${path(points)}L${points.at(-1)[0]} ${y(0)}L${points[0][0]} ${y(0)}Z`} />
    `
  }
  ${
    points.length > 1
      ? html`<path class=${`stroke ${line.tone}`} d=${path(points)} />`
      : html`<circle class=${`fill ${line.tone}`} cx=${points[0][0]} cy=${points[0][1]} r="2.5" />`
  }
`,
    ),
  );

function Hidden({ title, bins, series, write, name }) {
  return html`
    <div class="unseen">
      <table>
        <caption>${title}</caption>
        <thead><tr><th>${t("Time")}</th>${series.map((line) => html`<th>${t(line.title)}</th>`)}</tr></thead>
        <tbody>
          ${bins
            .filter((bin) => series.some((line) => bin[line.name]))
            .map(
              (bin) =>
                html`<tr><td>${name(bin)}</td>${series.map((line) => html`<td>${write(bin[line.name])}</td>`)}</tr>`,
            )}
        </tbody>
      </table>
    </div>
  `;
}

/** A chart of `bins`, as bars or lines; `series` are {name, title, tone}, `write` formats a value and `name` a bin. */
export function Chart({ title, bins, series, write, axis = write, isBars = false, isTime = false, seconds, name }) {
  const [box, width] = useWidth();
  const [at, setAt] = useState(null);
  const layout = useMemo(() => {
    const tops = bins.map((bin) =>
      isBars
        ? series.reduce((sum, line) => sum + (bin[line.name] || 0), 0)
        : Math.max(0, ...series.map((line) => bin[line.name] || 0)),
    );
    const { top, ticks } = scale(Math.max(...tops), isTime);
    const step = (width - PAD.left - PAD.right) / bins.length;
    const x = (index) => PAD.left + step * (index + 0.5);
    const y = (value) => PAD.top + (HEIGHT - PAD.top - PAD.bottom) * (1 - value / top);
    const isEmpty = tops.every((line) => !line);
    const isZero = !isBars && bins.some((bin) => series.some((line) => bin[line.name] === 0)); // a line at the bottom
    return { ticks, step, x, y, isEmpty, hasNothing: isEmpty && !isZero };
  }, [bins, series, width, isBars]);
  const { ticks, step, x, y, isEmpty, hasNothing } = layout;
  const every = Math.ceil(bins.length / Math.max(2, Math.floor(width / 110)));
  const short = new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hour12: false });
  const begins = name || ((bin) => short.format(moment(bin.at)));
  const lasts = name || ((bin) => `${begins(bin)}–${short.format(moment(bin.at) + seconds * 1000)}`);
  const trackPointer = (event) => {
    const { left } = event.currentTarget.getBoundingClientRect();
    const index = Math.floor((event.clientX - left - PAD.left) / step);
    setAt(index >= 0 && index < bins.length ? index : null);
  };
  const pointed = at === null ? null : bins[at];
  return html`
    <figure class="chart" ref=${box}>
      <figcaption>
        <h3>${title}</h3>
        <ul class="legend">
          ${series.map(
            (line) => html`
              <li>
                <i class=${line.tone}></i>
                ${t(line.title)}
                ${pointed ? html` <strong class="num">${write(pointed[line.name])}</strong>` : ""}
              </li>
            `,
          )}
          ${pointed && html`<li class="when num">${lasts(pointed)}</li>`}
        </ul>
      </figcaption>
      <svg
        viewBox=${`0 0 ${width} ${HEIGHT}`} width=${width} height=${HEIGHT} aria-hidden="true"
        onPointerMove=${trackPointer} onPointerLeave=${() => setAt(null)}
      >
        ${ticks.map(
          (tick) => html`
            <line class="grid" x1=${PAD.left} x2=${width - PAD.right} y1=${y(tick)} y2=${y(tick)} />
            <text class="tick" x=${PAD.left - 8} y=${y(tick) + 3.5} text-anchor="end">
              ${isEmpty && tick ? "" : axis(tick)}
            </text>
          `,
        )}
        ${
          pointed &&
          html`
            <rect
              class="cursor" x=${x(at) - step / 2} y=${PAD.top} width=${step} height=${HEIGHT - PAD.top - PAD.bottom}
            />
          `
        }
        ${
          isBars
            ? html`<${Bars} bins=${bins} series=${series} x=${x} y=${y} width=${step} />`
            : html`<${Lines} bins=${bins} series=${series} x=${x} y=${y} />`
        }
        ${bins.map(
          (bin, index) =>
            index % every === Math.floor(every / 2) &&
            html`<text class="tick" x=${x(index)} y=${HEIGHT - 5} text-anchor="middle">${begins(bin)}</text>`,
        )}
        ${
          hasNothing &&
          html`
            <text class="none" x=${(width + PAD.left) / 2} y=${HEIGHT / 2 - 4} text-anchor="middle">
              ${t("No data in this period")}
            </text>
          `
        }
      </svg>
      <${Hidden} title=${title} bins=${bins} series=${series} write=${write} name=${name || ((bin) => clock(bin.at))} />
    </figure>
  `;
}
