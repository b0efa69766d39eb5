package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
)

// netConf is the part of net-conf.json that an IPv4 network with one backend uses.
type netConf struct {
	EnableIPv4 *bool
	EnableIPv6 bool
	Network    string
	Backend    struct {
		Type          string
		VNI           *int
		Port          int
		MTU           int
		DirectRouting bool
	}

	network *net.IPNet
}

// readNetConf reads and checks the configuration. Unknown keys are let pass, as Flannel lets them.
func readNetConf(path string) (*netConf, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read net conf: %v", err)
	}
	config := &netConf{}
	if err := json.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("error parsing subnet config: %v", err)
	}
	if config.EnableIPv6 || config.EnableIPv4 != nil && !*config.EnableIPv4 {
		return nil, fmt.Errorf("%s: this stand-in serves IPv4 alone", path)
	}
	address, network, err := net.ParseCIDR(config.Network)
	if err != nil {
		return nil, fmt.Errorf("error parsing subnet config: please define a correct Network parameter in the "+
			"flannel config: %v", err)
	}
	if address.To4() == nil {
		return nil, fmt.Errorf("error parsing subnet config: Network %s is not IPv4", config.Network)
	}
	config.network = network
	config.Backend.Type = strings.ToLower(config.Backend.Type)
	switch config.Backend.Type {
	case "vxlan", "host-gw":
		return config, nil
	case "", "udp", "ipip", "ipsec", "wireguard", "alloc", "extension", "tencent-vpc":
		return nil, fmt.Errorf("backend type %q is one that this stand-in does not have", config.Backend.Type)
	}
	return nil, fmt.Errorf("unknown backend type: %v", config.Backend.Type)
}
