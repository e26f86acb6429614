"""Docker's remote network and IPAM driver on a unix socket: a thin front end of the agent.

messages    what dockerd asks, as data
operations  every operation in one table
networks    which of Weft's networks one of Docker's stands for
driver      NetworkDriver
ipam        IpamDriver
state       what only Docker knows and this process must, across restarts
sweep       what Docker did while nobody listened
server      HTTP; the process around it

A container's interface is a veth whose end Docker itself moves into the container (`weft.compile.handover`): when Docker
says Join, the container's namespace is not there yet. All else is Weft's own model; an endpoint's owner is
"docker/NETWORKID/ENDPOINTID".
"""
