"""The agent's local API as data: what can be asked (`operations`) and what goes over the wire (`types`). Server, client and
OpenAPI document are all made from it."""
