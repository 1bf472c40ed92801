"""A program to be run under a debugger, as users have them.

python -P plain.py READER
"""

import asyncio
import sys

import readers

asyncio.run(readers.run("bus", sys.argv[1]))
print("took all")
