"""The node agent: one event loop for all that is on this host. Store → view → compile → converge → status, and the local API.

view       the model as the store last told it
compiler   which sources a change touches, and what they contribute
stepper    union and reconciler, in one worker thread
loop       batches changes, kernel events, retries and resyncs into steps; a loop for each target
membership this node in the store: record, presence, leases of subnets
attach     containers come and go
service    the API's operations;  http serves them;  status and doctor tell
main       puts it together
"""
