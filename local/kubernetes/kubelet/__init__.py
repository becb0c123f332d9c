"""A node: runs pods as local processes, an ordinary client of the API. Nothing of the control plane.

It serves the rehearsal's own API server and a real kube-apiserver alike, and it needs
no root. What a container runtime does with namespaces is done with plain means:

- A file system of its own, with volumes mounted in it: directories; mount paths in the command, the arguments and the
  environment are rewritten (`process.paths`). A program with a mount path written in its own code does not see the
  mount.
- Read-only mounts: Landlock, where the kernel has it (`process.launch`); elsewhere the mount is writable and an event
  says so.
- An address of its own: a loopback address, 127.x.y.z, in `HOST`, `POD_IP` and `status.podIP`.
- Cluster DNS and ClusterIPs: the names of Services in the environment and arguments are rewritten to loopback addresses
  (`network.service_names`) that a proxy serves (`network.service_proxy`). They must exist before the pod starts.
- An image: a table of stand-ins (`process.images`); what is not in it cannot be pulled.

Not done, on purpose: users and security contexts, resource limits, host ports, `hostPath`, sidecar init containers,
live refresh of mounted ConfigMaps, Service environment variables, `kubectl port-forward`.
"""
