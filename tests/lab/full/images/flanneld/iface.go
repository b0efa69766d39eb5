package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// outsideInterface is where this host's pod traffic leaves for other hosts.
type outsideInterface struct {
	name    string
	address net.IP
	public  net.IP // what the other nodes are told
	network *net.IPNet
	mtu     int
}

// run executes one program and returns its output, or an error with what it said.
func run(name string, arguments ...string) (string, error) {
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// routeDevice asks the kernel for the device of a route, with the arguments of ip route.
func routeDevice(arguments ...string) (string, error) {
	out, err := run("ip", append([]string{"-4", "-j", "route"}, arguments...)...)
	if err != nil {
		return "", err
	}
	var routes []struct {
		Dev string `json:"dev"`
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return "", err
	}
	if len(routes) == 0 || routes[0].Dev == "" {
		return "", errors.New("no such route")
	}
	return routes[0].Dev, nil
}

// withAddress fills in what one interface has; wanted picks one of its addresses, or nil for the first.
func withAddress(iface *net.Interface, wanted net.IP) (*outsideInterface, error) {
	addresses, err := iface.Addrs()
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if !ok || network.IP.To4() == nil || !network.IP.IsGlobalUnicast() {
			continue
		}
		if wanted == nil || wanted.Equal(network.IP) {
			return &outsideInterface{name: iface.Name, address: network.IP.To4(), public: network.IP.To4(),
				network: network, mtu: iface.MTU}, nil
		}
	}
	return nil, fmt.Errorf("failed to find IPv4 address for interface %s", iface.Name)
}

func byName(name string) (*outsideInterface, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("error looking up interface %s: %v", name, err)
	}
	return withAddress(iface, nil)
}

func byAddress(wanted net.IP) (*outsideInterface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if found, err := withAddress(&all[i], wanted); err == nil {
			return found, nil
		}
	}
	return nil, fmt.Errorf("error looking up interface %s: no interface has this address", wanted)
}

func byReach(target string) (*outsideInterface, error) {
	address := net.ParseIP(target)
	if address == nil || address.To4() == nil {
		return nil, fmt.Errorf("--iface-can-reach: %q is not an IPv4 address", target)
	}
	device, err := routeDevice("get", target)
	if err != nil {
		return nil, fmt.Errorf("failed to get ifaces to reach %s: %v", target, err)
	}
	if device == "lo" {
		// The address is this host's own: the interface that has it is meant.
		return byAddress(address)
	}
	return byName(device)
}

// chooseInterface follows the arguments in Flannel's order: --iface first to last, then --iface-can-reach, then the
// default route.
func chooseInterface(o *options) (*outsideInterface, error) {
	found, err := chooseByArguments(o)
	if err != nil || o.publicIP == "" {
		return found, err
	}
	public := net.ParseIP(o.publicIP).To4()
	if public == nil {
		return nil, fmt.Errorf("invalid public IP address %q", o.publicIP)
	}
	found.public = public
	return found, nil
}

func chooseByArguments(o *options) (*outsideInterface, error) {
	var last error
	for _, wanted := range o.ifaces {
		var found *outsideInterface
		if address := net.ParseIP(wanted); address != nil {
			found, last = byAddress(address)
		} else {
			found, last = byName(wanted)
		}
		if last == nil {
			return found, nil
		}
	}
	if last != nil {
		return nil, last
	}
	if o.canReach != "" {
		return byReach(o.canReach)
	}
	device, err := routeDevice("show", "default")
	if err != nil {
		return nil, fmt.Errorf("failed to get default interface: %v", err)
	}
	return byName(device)
}
