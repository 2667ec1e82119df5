"""Who sends a request, and whether they may: keys, sessions of browsers, addresses that may watch.

`middleware.py` answers both for every request; the other modules decide, without HTTP.
"""

from .decision import Caller, Lock
from .middleware import CALLER, LOCK, WRONG_KEYS, identify
from .page_forms import own_form
from .sign_in import PAGE, ask, sign_in, sign_out
from .wrong_keys import WrongKeys

__all__ = [
    "CALLER",
    "LOCK",
    "PAGE",
    "WRONG_KEYS",
    "Caller",
    "Lock",
    "WrongKeys",
    "ask",
    "identify",
    "own_form",
    "sign_in",
    "sign_out",
]
