"""Our programs in the cluster: packed, started by Job or exec, heard. Not what they do there."""
