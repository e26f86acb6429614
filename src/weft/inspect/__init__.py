"""All network namespaces and links of a host, whoever made them: read from the kernel, without an agent.

`find` gathers the namespaces (`processes`, `mounts`) and says whose they are (`engines`), `read` visits each of them,
`graph` joins the links of all of them (pure), `way` walks from a link to the uplink (pure), `meant` finds what a user names
(pure), `survey` puts it together.
"""
