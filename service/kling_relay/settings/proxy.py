"""The proxy for calls to the provider, which may stand in variables that other programs share."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kling_relay.settings.load import Settings


def provider_proxy(settings: Settings, url: str) -> str | None:
    """Return the URL of the proxy for the provider at `url`, or None.

    NO_PROXY lists names and their ends; `*` is everything.
    """
    if settings.provider_proxy is None:
        return None
    proxy = settings.provider_proxy.get_secret_value()
    if proxy != "env":
        return proxy
    proxies, parts = getproxies(), urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
