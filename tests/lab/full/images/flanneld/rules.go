package main

import "net"

// The rules stand in chains of their own, made anew at each start, as Flannel keeps them.
const (
	masqueradeChain = "FLANNEL-POSTRTG"
	forwardChain    = "FLANNEL-FWD"
)

// iptables runs one command, waiting for the lock that kube-proxy and the kubelet share.
func iptables(table string, arguments ...string) error {
	_, err := run("iptables", append([]string{"-w", "-t", table}, arguments...)...)
	return err
}

// setChain fills a chain and makes a built-in one lead to it.
func setChain(table, from, chain string, rules [][]string) error {
	if iptables(table, "-N", chain) != nil {
		if err := iptables(table, "-F", chain); err != nil {
			return err
		}
	}
	for _, rule := range rules {
		if err := iptables(table, append([]string{"-A", chain}, rule...)...); err != nil {
			return err
		}
	}
	if iptables(table, "-C", from, "-j", chain) == nil {
		return nil
	}
	return iptables(table, "-A", from, "-j", chain)
}

// setRules lets pod traffic be forwarded, and gives traffic that leaves the pod network the host's address.
func setRules(network, own *net.IPNet, masquerade, forward bool) error {
	pods, here := network.String(), own.String()
	if masquerade {
		if err := setChain("nat", "POSTROUTING", masqueradeChain, [][]string{
			{"-m", "mark", "--mark", "0x4000/0x4000", "-j", "RETURN"},
			{"-s", here, "-d", pods, "-j", "RETURN"},
			{"-s", pods, "-d", here, "-j", "RETURN"},
			{"!", "-s", pods, "-d", here, "-j", "RETURN"},
			{"-s", pods, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE", "--random-fully"},
			{"!", "-s", pods, "-d", pods, "-j", "MASQUERADE", "--random-fully"},
		}); err != nil {
			return err
		}
	}
	if !forward {
		return nil
	}
	return setChain("filter", "FORWARD", forwardChain, [][]string{
		{"-s", pods, "-j", "ACCEPT"},
		{"-d", pods, "-j", "ACCEPT"},
	})
}
