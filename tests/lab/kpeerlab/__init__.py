"""The lab's parts: cli (commands) over host (life of a host) over network, root, cgroup, faults, sysctl and state."""
