"""Claims, volumes and their attachment. Not their directories, which are the kubelet's."""
