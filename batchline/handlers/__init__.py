"""What handlers of results are written against: code that gets the results of each batch that ends.

    class Count:
        name = "count"

        async def handle(self, batch, results, context):
            print(batch.id, len([one async for one in results if one.is_answered]))

    register_handler(Count())

batch     the batch that handlers get
result    one line of it, with its answer
results   all of them, as an async stream
context   what a handler may ask for beside them
register  how a module names its handlers
sections  the file in which an operator sets handlers up

docs/handlers.md tells how they are found, run and tried again. A handler runs in a process of its own.
"""

from .batch import EndedBatch
from .context import Context, GiveUp
from .register import Handler, register_handler
from .result import Result
from .results import Results

__all__ = [
    "Context",
    "EndedBatch",
    "GiveUp",
    "Handler",
    "Result",
    "Results",
    "register_handler",
]
