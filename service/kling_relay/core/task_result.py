"""Finds the files in what the provider says about a success: Kling's `task_result`, wherever a gateway put it.

Kling's own places come first. A URL in another place counts only if it is one of the web, because members with such
names may hold something else.
"""

import re
from typing import Any

from kling_relay.core.untrusted import identifier

_MAX_URL = 8192
_MAX_ITEMS = 64
_URL_KEYS = {"video_url": "videos", "videoUrl": "videos", "image_url": "images", "imageUrl": "images", "result_url": ""}
_OUTPUT_URL_KEYS = _URL_KEYS | {"video": "videos", "image": "images", "url": ""}
"""Only inside `output`. Outside it, `image` is the input of the order."""
_PLAIN_KEYS = dict.fromkeys(("url", "urls", "output", "task_result", "result", "results", "data"), "")
_OBJECT_KEYS = {"videos": "videos", "video": "videos", "images": "images", "image": "images"}
"""Members of a layer that may hold a file, or a list of files, if the result is in none of its usual places. A bare URL
in one of the latter may be the input of the order."""
_RESULT_PLACES = ("task_result", "result", "output", "content")
"""Members of a layer that hold a result, in whatever shape."""
_FILE_URL_KEYS = ("video_url", "videoUrl", "image_url", "imageUrl", "URL")
"""Members of a listed file that name it, if it has no `url`."""
_METADATA_URL_KEYS = ("url", "result_url", "video_url", "videoUrl")
_URL_IN_REASON_KEYS = ("fail_reason", "failReason")
"""Some gateways put the URL of a success where the reason of a failure would be."""
_PICTURE = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp)(?:[?#]|$)", re.IGNORECASE)
_LINK = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^/]", re.IGNORECASE)
_WEB_LINK = re.compile(r"https?://[^/]", re.IGNORECASE)
_DURATION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def find_result(layers: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, bool]:
    """Return Kling's `task_result`, from the first place that names a file, and whether one of its files has a URL.

    If no file has one, the result has the watermarked files. None: there are no files at all.
    """
    watermarked = None
    for readers in (_USUAL_PLACES, _OTHER_PLACES):
        for layer in layers:
            for read_items in readers:
                result: dict[str, list[dict[str, Any]]] = {}
                is_complete = False
                for kind, item in read_items(layer)[:_MAX_ITEMS]:
                    files = result.get(kind)
                    if (file := _file(kind, item, len(files) if files else 0)) is not None:
                        if files is None:
                            result[kind] = files = []
                        files.append(file)
                        is_complete = is_complete or bool(file["url"])
                if is_complete:
                    return result, True
                watermarked = watermarked or result or None
    return watermarked, False


def _listed(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for place in ("task_result", "result", "output"):
        inner = layer.get(place)
        if isinstance(inner, dict):
            for kind in ("images", "videos"):
                files = inner.get(kind)
                if isinstance(files, list):
                    items += [(kind, item) for item in files[:_MAX_ITEMS]]
                elif isinstance(files, dict):
                    items.append((kind, files))
    return items


def _outputs(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    outputs = layer.get("outputs")
    return [(_kind_of(item), item) for item in outputs[:_MAX_ITEMS]] if isinstance(outputs, list) else []


def _single(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    output = layer.get("output")
    for source, keys in ((output, _OUTPUT_URL_KEYS), (layer, _URL_KEYS)):
        if isinstance(source, dict):
            for key, kind in keys.items():
                url = source.get(key)
                if isinstance(url, str) and url:
                    file: dict[str, Any] = {"url": url, "duration": source.get("duration")}
                    if "watermark_url" in source:
                        file["watermark_url"] = source["watermark_url"]
                    items.append((kind or _kind_of(url), file))
    return items


def _inner(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the files of a result that does not list them as Kling does."""
    for place in _RESULT_PLACES:
        inner = layer.get(place)
        if isinstance(inner, dict) and (items := _outputs(inner) or _single(inner) or _plain(inner)):
            return items
    return []


def _metadata(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the file in `metadata`. An image there may be the one of the order."""
    metadata = layer.get("metadata")
    if not isinstance(metadata, dict):
        return []
    url = next((metadata[key] for key in _METADATA_URL_KEYS if _links(metadata.get(key))), None)
    return [] if url is None else [(_kind_of(url), {**metadata, "url": url})]


def _plain(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the files of the first member that holds a URL, an object with a URL, or a list of either."""
    for keys, shapes in ((_PLAIN_KEYS, (str, dict)), (_OBJECT_KEYS, (dict,))):
        for key, kind in keys.items():
            value = layer.get(key)
            items = value[:_MAX_ITEMS] if isinstance(value, list) else [value]
            if files := [(kind or _kind_of(item), item) for item in items if isinstance(item, shapes) and _links(item)]:
                return files
    watermarked = layer.get("watermark_url")
    return [(_kind_of(watermarked), {"watermark_url": watermarked})] if isinstance(watermarked, str) else []


def _reason_link(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    links = [layer[key] for key in _URL_IN_REASON_KEYS if _links(layer.get(key))]
    return [(_kind_of(link), link) for link in links[:1]]


def _links(value: Any) -> bool:
    """Return whether `value` is a URL of the web, or has one as its `url`."""
    if isinstance(value, dict):
        value = value.get("url")
    return isinstance(value, str) and _WEB_LINK.match(value.strip()) is not None


def _kind_of(item: Any) -> str:
    """Return the kind of an item: by its type, or else by its URL's ending; a video if in doubt."""
    if isinstance(item, dict):
        kind = item.get("type")
        if isinstance(kind, str) and kind.lower() in {"image", "video"}:
            return kind.lower() + "s"
        item = item.get("url")
    return "images" if isinstance(item, str) and _PICTURE.search(item[:_MAX_URL]) else "videos"


def _file(kind: str, item: Any, position: int) -> dict[str, Any] | None:
    """Return one file in Kling's shape, or None without a valid URL. If only the watermark has one, `url` is ""."""
    if not isinstance(item, dict):
        if not isinstance(item, str):
            return None
        item = {"url": item}
    url = _url_of(item)
    watermarked = _url(item["watermark_url"]) if "watermark_url" in item else None
    if url is None:
        if watermarked is None:
            return None
        url = ""
    file: dict[str, Any]
    if kind == "images":
        index = item.get("index")
        is_valid = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < _MAX_ITEMS
        file = {"index": index if is_valid else position, "url": url}
    else:
        file = {"id": identifier(item.get("id")) or "", "url": url, "duration": _duration(item.get("duration"))}
    if watermarked is not None:
        file["watermark_url"] = watermarked
    return file


def _url_of(item: dict[str, Any]) -> str | None:
    """Return the URL of a listed file; of several, the first."""
    url = item.get("url")
    if url is None:
        url = next((item[key] for key in _FILE_URL_KEYS if item.get(key)), None)
    return _url(url[0] if isinstance(url, list) and url else url)


def _url(value: Any) -> str | None:
    """Return `value` if it can be the URL of a file: a host after `//`, printable, and not too long.

    Spaces around it are dropped, and those inside it are encoded.
    """
    if not isinstance(value, str):
        return None
    url = value.strip()
    if " " in url:
        url = url[: _MAX_URL + 1].replace(" ", "%20")
    return identifier(url, _MAX_URL) if _LINK.match(url) else None


def _duration(value: Any) -> str:
    """Return seconds as Kling writes them ("5.1"), or "" if there are none."""
    if not isinstance(value, str):
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 10**6:
            return ""
        value = repr(value)
    return value if _DURATION.fullmatch(value) else ""


_USUAL_PLACES = (_listed, _outputs, _single)
_OTHER_PLACES = (_metadata, _plain, _inner, _reason_link)
