"""What all tests of this repository share.

The shipped suite lies below this folder in a checkout, so this file is loaded by every gate run
of an editable install as well: it must not change how the gate behaves.
"""
