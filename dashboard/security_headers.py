"""The headers of every answer of the dashboard: the browser loads and runs only what this server sends.

No other page may show it in a frame or send its forms.
"""

from __future__ import annotations

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer our own forms would send `Origin: null`
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), "
    "payment=(), serial=(), usb=()",
}
