"""What runs."""

from . import report as report
from .outcome import Account as Account
from .outcome import printed as printed
from .planning import Planning as Planning
from .runner import EXECUTE as EXECUTE
from .runner import ROLL_BACK as ROLL_BACK
from .runner import Hooks as Hooks
from .runner import Run as Run
from .workspace import Session as Session
from .workspace import who as who
