"""A program to be run under a debugger, as users have them.

python -P plain.py READER
"""

import asyncio
import sys

import readers

asyncio.run(readers.run("bus", sys.argv[1]))
print("took all")
# A debugger that steps on into the interpreter's own end finds its modules gone, and bdb of 3.14 says so.
monitoring = getattr(sys, "monitoring", None)
if monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None:
    monitoring.set_events(monitoring.DEBUGGER_ID, 0)
