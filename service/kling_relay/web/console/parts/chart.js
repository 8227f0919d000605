// Charts drawn as SVG at the width there is: bars that stand on one another, or lines; each also as a table for readers.
import { html, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { clock, moment } from "../lib/format.js";
import { locale, t } from "../lib/words.js";

const HIGH = 168;
const TIMES = [2, 4, 10, 20, 30, 60, 120, 240, 360, 600, 1200, 1800, 3600].map((each) => each * 1000);
const PAD = { top: 10, right: 4, bottom: 22, left: 46 };

/** Return a round number at or above `most`, and the lines to draw below it. */
export function scale(most, isTime = false) {
  if (!(most > 0)) return { top: 1, ticks: [0, 1] };
  if (isTime && most > 1000) {
    const round = TIMES.find((each) => each >= most * 0.999) || Math.ceil(most / 36e5) * 36e5;
    return { top: round, ticks: [0, round / 2, round] };
  }
  const size = 10 ** Math.floor(Math.log10(most));
  const steps = !isTime && most <= 10 ? [2, 4, 6, 10] : [1, 2, 3, 4, 6, 8, 10].map((each) => each * size);
  const top = steps.find((each) => each >= most * 0.999);
  return { top, ticks: [0, top / 2, top] };
}

/** The width of an element, kept as it changes. */
function useWidth() {
  const box = useRef(null);
  const [width, see] = useState(480);
  useLayoutEffect(() => {
    const look = new ResizeObserver(([entry]) => see(Math.max(220, Math.floor(entry.contentRect.width))));
    look.observe(box.current);
    return () => look.disconnect();
  }, []);
  return [box, width];
}

/** Points as lines, broken where a value is missing; a lone point becomes a dot. */
function runs(values, x, y) {
  const found = [];
  let run = [];
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      if (run.length) found.push(run);
      run = [];
    } else {
      run.push([x(index), y(value)]);
    }
  });
  if (run.length) found.push(run);
  return found;
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function Bars({ bins, series, x, y, width }) {
  const wide = Math.max(1.5, Math.min(18, width * 0.68));
  return bins.map((bin, index) => {
    let below = 0;
    return series.map((each) => {
      const value = bin[each.name] || 0;
      const from = y(below);
      below += value;
      return value > 0 && html`<rect class=${`fill ${each.tone}`} x=${(x(index) - wide / 2).toFixed(1)} y=${y(below).toFixed(1)} width=${wide.toFixed(1)}
        height=${Math.max(0.5, from - y(below)).toFixed(1)} rx="1" />`;
    });
  });
}

const Lines = ({ bins, series, x, y }) => series.map((each) => runs(bins.map((bin) => bin[each.name]), x, y).map((points) => html`
  ${each.area && html`<path class=${`area ${each.tone}`} d=${`${path(points)}L${points.at(-1)[0]} ${y(0)}L${points[0][0]} ${y(0)}Z`} />`}
  ${points.length > 1 ? html`<path class=${`stroke ${each.tone}`} d=${path(points)} />` : html`<circle class=${`fill ${each.tone}`} cx=${points[0][0]} cy=${points[0][1]} r="2.5" />`}`));

function Hidden({ title, bins, series, write, name }) {
  return html`<div class="unseen"><table><caption>${title}</caption><thead><tr><th>${t("Time")}</th>${series.map((each) => html`<th>${t(each.title)}</th>`)}</tr></thead>
    <tbody>${bins.filter((bin) => series.some((each) => bin[each.name])).map((bin) => html`<tr><td>${name(bin)}</td>${series.map((each) => html`<td>${write(bin[each.name])}</td>`)}</tr>`)}</tbody></table></div>`;
}

/** A chart of `bins`; `series` are {name, title, tone}; `write` says a value, `name` a bin that is no time of day; bars where `isBars`. */
export function Chart({ title, bins, series, write, axis = write, isBars = false, isTime = false, seconds, name }) {
  const [box, width] = useWidth();
  const [at, point] = useState(null);
  const drawn = useMemo(() => {
    const tops = bins.map((bin) => (isBars ? series.reduce((sum, each) => sum + (bin[each.name] || 0), 0) : Math.max(0, ...series.map((each) => bin[each.name] || 0))));
    const { top, ticks } = scale(Math.max(...tops), isTime);
    const step = (width - PAD.left - PAD.right) / bins.length;
    const x = (index) => PAD.left + step * (index + 0.5);
    const y = (value) => PAD.top + (HIGH - PAD.top - PAD.bottom) * (1 - value / top);
    return { ticks, step, x, y, isEmpty: tops.every((each) => !each) };
  }, [bins, series, width, isBars]);
  const { ticks, step, x, y, isEmpty } = drawn;
  const every = Math.ceil(bins.length / Math.max(2, Math.floor(width / 110)));
  const short = new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hour12: false });
  const begins = name || ((bin) => short.format(moment(bin.at)));
  const lasts = name || ((bin) => `${begins(bin)}–${short.format(moment(bin.at) + seconds * 1000)}`);
  const look = (event) => {
    const { left } = event.currentTarget.getBoundingClientRect();
    const index = Math.floor((event.clientX - left - PAD.left) / step);
    point(index >= 0 && index < bins.length ? index : null);
  };
  const seen = at === null ? null : bins[at];
  return html`<figure class="chart" ref=${box}>
    <figcaption><h3>${title}</h3><ul class="legend">${series.map((each) => html`<li><i class=${each.tone}></i>${t(each.title)}${seen ? html` <strong class="num">${write(seen[each.name])}</strong>` : ""}</li>`)}
      ${seen && html`<li class="when num">${lasts(seen)}</li>`}</ul></figcaption>
    <svg viewBox=${`0 0 ${width} ${HIGH}`} width=${width} height=${HIGH} aria-hidden="true" onPointerMove=${look} onPointerLeave=${() => point(null)}>
      ${ticks.map((tick) => html`<line class="grid" x1=${PAD.left} x2=${width - PAD.right} y1=${y(tick)} y2=${y(tick)} />
        <text class="tick" x=${PAD.left - 8} y=${y(tick) + 3.5} text-anchor="end">${isEmpty && tick ? "" : axis(tick)}</text>`)}
      ${seen && html`<rect class="cursor" x=${x(at) - step / 2} y=${PAD.top} width=${step} height=${HIGH - PAD.top - PAD.bottom} />`}
      ${isBars ? html`<${Bars} bins=${bins} series=${series} x=${x} y=${y} width=${step} />` : html`<${Lines} bins=${bins} series=${series} x=${x} y=${y} />`}
      ${bins.map((bin, index) => index % every === Math.floor(every / 2) && html`<text class="tick" x=${x(index)} y=${HIGH - 5} text-anchor="middle">${begins(bin)}</text>`)}
      ${isEmpty && html`<text class="none" x=${(width + PAD.left) / 2} y=${HIGH / 2 - 4} text-anchor="middle">${t("Nothing in this time")}</text>`}
    </svg>
    <${Hidden} title=${title} bins=${bins} series=${series} write=${write} name=${name || ((bin) => clock(bin.at))} />
  </figure>`;
}
