"""A user's road: black box, through the command line and HTTP, on data made for it.

`people` says what customers write and what would have been right, `road` runs the commands and
talks to the service, `invariants` says what must hold on every road.
"""
