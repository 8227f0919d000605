// A picture by drop, paste, file or URL, checked before it is sent. Base64 is sent without a "data:" prefix.
import { html, freshId, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { size } from "../lib/format.js";
import { sample } from "../lib/sample.js";
import { t } from "../lib/i18n.js";
import { Button } from "./ui.js";

const TYPES = ["image/jpeg", "image/png"];

/** Return what is wrong with a picture of this size, or "". */
export function faultOf(rule, { width, height, bytes }) {
  if (bytes > rule.max_bytes)
    return t("{size} is too large (max {max}).", { size: size(bytes), max: size(rule.max_bytes) });
  if (rule.min_side && Math.min(width, height) < rule.min_side) {
    return t("{width} × {height} is too small (min {min} px per side).", { width, height, min: rule.min_side });
  }
  if (rule.max_ratio && Math.max(width, height) / Math.min(width, height) > rule.max_ratio) {
    return t("The aspect ratio exceeds {max}:1.", { max: rule.max_ratio });
  }
  return "";
}

const readAsUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });

const measure = (src) =>
  new Promise((resolve, reject) => {
    const picture = new Image();
    picture.addEventListener("load", () => resolve({ width: picture.naturalWidth, height: picture.naturalHeight }));
    picture.addEventListener("error", () => reject(new Error("unreadable")));
    picture.src = src;
  });

async function readPicture(file, rule) {
  if (!TYPES.includes(file.type)) return { fault: t("Only JPEG and PNG are supported.") };
  const src = await readAsUrl(file);
  try {
    const sides = await measure(src);
    const fault = faultOf(rule, { ...sides, bytes: file.size });
    return {
      sent: src.slice(src.indexOf(",") + 1),
      src,
      name: file.name || t("pasted picture"),
      bytes: file.size,
      ...sides,
      fault,
    };
  } catch {
    return { fault: t("The browser cannot read this picture.") };
  }
}

/** A picture field; `value` is `{sent, src, name, bytes, width, height}`, and `sent` is what the order contains. */
export function PictureField({ title, rule, value, onChange, fault, takesPaste }) {
  const id = useMemo(() => freshId("picture"), []);
  const [isOver, setIsOver] = useState(false);
  const [ownFault, setOwnFault] = useState("");
  const url = useRef(null);
  async function take(file) {
    if (!file) return;
    const { fault: problem, ...picture } = await readPicture(file, rule);
    setOwnFault(problem || "");
    if (!problem) onChange(picture);
  }
  useEffect(() => {
    if (!takesPaste) return undefined;
    const paste = (event) => {
      const file = [...(event.clipboardData?.files || [])].find((candidate) => candidate.type.startsWith("image/"));
      if (file) {
        event.preventDefault();
        take(file);
      }
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, [takesPaste, rule]);
  function takeUrl() {
    const text = url.current.value.trim();
    if (!/^https?:\/\/\S+$/.test(text)) return setOwnFault(t("The address must start with http:// or https://."));
    setOwnFault("");
    return onChange({ sent: text, src: text, name: text });
  }
  const drop = {
    onDragOver: (event) => {
      event.preventDefault();
      setIsOver(true);
    },
    onDragLeave: () => setIsOver(false),
    onDrop: (event) => {
      event.preventDefault();
      setIsOver(false);
      take(event.dataTransfer.files[0]);
    },
  };
  const limits = [
    t("JPEG or PNG"),
    t("max {max}", { max: size(rule.max_bytes) }),
    rule.min_side && t("min {min} px per side", { min: rule.min_side }),
  ];
  return html`
    <div class="field drop" ...${drop}>
      <div class="top-line">
        <label for=${id}>${title}${!rule.required && html` <span class="optional">${t("optional")}</span>`}</label>
      </div>
      ${
        value
          ? html`
          <div class="shown">
            <img src=${value.src} alt=${t("Preview of the picture")} referrerpolicy="no-referrer" />
            <div class="words">
              <strong>${value.name}</strong>
              <div class="hint">
                ${
                  value.bytes
                    ? `${value.width} × ${value.height} · ${size(value.bytes)}`
                    : t("The provider downloads it from this URL.")
                }
              </div>
            </div>
            <${Button}
              kind="quiet icon" icon="close" label=${t("Remove picture")} onClick=${() => onChange(undefined)}
            />
          </div>
        `
          : html`
          <div class=${`well${isOver ? " over" : ""}`}>
            <span class="unseen">${title}</span>
            <${WellIcon} />
            <span>${t("Drop, paste or choose a picture")}</span>
            <span class="hint">${limits.filter(Boolean).join(" · ")}</span>
            <input
              id=${id} type="file" accept=${TYPES.join()} aria-invalid=${Boolean(ownFault || fault)}
              onChange=${(event) => take(event.target.files[0])}
            />
          </div>
          <div class="links">
            <input
              type="url" ref=${url} placeholder="https://…/picture.jpg" aria-label=${t("Picture URL")}
              onKeyDown=${(event) => event.key === "Enter" && (event.preventDefault(), takeUrl())}
            />
            <${Button} kind="small" onClick=${takeUrl}>${t("Use URL")}<//>
            <${Button} kind="small quiet" onClick=${async () => take(await sample())}>${t("Sample picture")}<//>
          </div>
        `
      }
      ${(ownFault || fault) && html`<span class="fault" role="alert">${ownFault || fault}</span>`}
    </div>
  `;
}

const WellIcon = () => html`
  <svg
    viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round"
    stroke-linejoin="round" aria-hidden="true"
  >
    <path d="M3 5h14v10H3zM3 13l4-4 3.500 3.500L13 10l4 4M12.500 7.800h.01" />
  </svg>
`;
