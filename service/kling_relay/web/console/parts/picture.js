// A picture by drop, paste, file or URL, looked at here before anything is sent. Base64 goes out without "data:".
import { html, freshId, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { size } from "../lib/format.js";
import { sample } from "../lib/sample.js";
import { t } from "../lib/words.js";
import { Button } from "./ui.js";

const TYPES = ["image/jpeg", "image/png"];

/** Return what is wrong with a picture of these sides and bytes, or "" where nothing is. */
export function faultOf(rule, { width, height, bytes }) {
  if (bytes > rule.max_bytes) return t("It has {size}; at most {most} are taken.", { size: size(bytes), most: size(rule.max_bytes) });
  if (rule.min_side && Math.min(width, height) < rule.min_side) {
    return t("It is {width} × {height}; each side needs {least} pixels.", { width, height, least: rule.min_side });
  }
  if (rule.max_ratio && Math.max(width, height) / Math.min(width, height) > rule.max_ratio) {
    return t("It is too long for its width: at most {most} to 1.", { most: rule.max_ratio });
  }
  return "";
}

const read = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

const measure = (src) => new Promise((resolve, reject) => {
  const picture = new Image();
  picture.onload = () => resolve({ width: picture.naturalWidth, height: picture.naturalHeight });
  picture.onerror = () => reject(new Error("unreadable"));
  picture.src = src;
});

async function taken(file, rule) {
  if (!TYPES.includes(file.type)) return { fault: t("Only JPEG and PNG are taken.") };
  const src = await read(file);
  try {
    const sides = await measure(src);
    const fault = faultOf(rule, { ...sides, bytes: file.size });
    return { sent: src.slice(src.indexOf(",") + 1), src, name: file.name || t("pasted picture"), bytes: file.size, ...sides, fault };
  } catch {
    return { fault: t("The browser cannot read this picture.") };
  }
}

/** A picture's field; `value` is `{sent, src, name, bytes, width, height}`, `sent` being what stands in the order. */
export function PictureField({ title, rule, value, onChange, fault, takesPaste }) {
  const id = useMemo(() => freshId("picture"), []);
  const [isOver, over] = useState(false);
  const [wrong, say] = useState("");
  const url = useRef(null);
  async function take(file) {
    if (!file) return;
    const { fault: found, ...picture } = await taken(file, rule);
    say(found || "");
    if (!found) onChange(picture);
  }
  useEffect(() => {
    if (!takesPaste) return undefined;
    const paste = (event) => {
      const file = [...(event.clipboardData?.files || [])].find((each) => each.type.startsWith("image/"));
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
    if (!/^https?:\/\/\S+$/.test(text)) return say(t("A picture's address begins with http:// or https://."));
    say("");
    return onChange({ sent: text, src: text, name: text });
  }
  const drop = {
    onDragOver: (event) => { event.preventDefault(); over(true); },
    onDragLeave: () => over(false),
    onDrop: (event) => { event.preventDefault(); over(false); take(event.dataTransfer.files[0]); },
  };
  const limits = [t("JPEG or PNG"), t("up to {most}", { most: size(rule.max_bytes) }), rule.min_side && t("sides of {least} px or more", { least: rule.min_side })];
  return html`<div class="field drop" ...${drop}>
    <div class="top-line"><label for=${id}>${title}${!rule.required && html` <span class="optional">${t("optional")}</span>`}</label></div>
    ${value ? html`<div class="shown">
        <img src=${value.src} alt=${t("Preview of the picture")} referrerpolicy="no-referrer" />
        <div class="words"><strong>${value.name}</strong>
          <div class="hint">${value.bytes ? `${value.width} × ${value.height} · ${size(value.bytes)}` : t("The provider fetches it from this address.")}</div></div>
        <${Button} kind="quiet icon" icon="close" label=${t("Remove the picture")} onClick=${() => onChange(undefined)} />
      </div>`
    : html`<div class=${`well${isOver ? " over" : ""}`}>
        <span class="unseen">${title}</span><${WellIcon} /><span>${t("Drop a picture, paste one, or choose a file")}</span>
        <span class="hint">${limits.filter(Boolean).join(" · ")}</span>
        <input id=${id} type="file" accept=${TYPES.join()} aria-invalid=${Boolean(wrong || fault)} onChange=${(event) => take(event.target.files[0])} />
      </div>
      <div class="links"><input type="url" ref=${url} placeholder="https://…/picture.jpg" aria-label=${t("Address of a picture")}
          onKeyDown=${(event) => event.key === "Enter" && (event.preventDefault(), takeUrl())} />
        <${Button} kind="small" onClick=${takeUrl}>${t("Use address")}<//>
        <${Button} kind="small quiet" onClick=${async () => take(await sample())}>${t("Sample picture")}<//></div>`}
    ${(wrong || fault) && html`<span class="fault" role="alert">${wrong || fault}</span>`}
  </div>`;
}

const WellIcon = () => html`<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round"
  stroke-linejoin="round" aria-hidden="true"><path d="M3 5h14v10H3zM3 13l4-4 3.500 3.500L13 10l4 4M12.500 7.800h.01" /></svg>`;
