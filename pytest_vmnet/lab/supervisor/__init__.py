"""The process that is a lab: its end, by whatever, is the end of all that belongs to the lab.

Three processes: the *outer* one stays in the caller's PID namespace and waits; *init* is PID 1 of
the lab's own PID namespace and reaps; the *supervisor* proper builds the site and answers callers.
Whichever of them dies, by SIGKILL too, takes the others along: init has asked the kernel to be
killed when the outer one dies, the kernel kills a PID namespace whose PID 1 dies, and init leaves
when the supervisor does. Namespaces, devices, rules and mounts go with their last process.
"""
