"""An example of a system that embeds a node: a small replicated catalog of names, each with a definition.

It uses nothing of hacoord but what any such system may: it applies the journal (machine.py), answers requests of its
own on the node's port (service.py), and asks through `Client` (client.py). commands.py puts it on the command line.
"""
