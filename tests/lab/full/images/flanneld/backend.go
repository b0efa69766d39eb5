package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"strconv"
)

const (
	defaultVNI       = 1
	defaultVxlanPort = 8472
	vxlanOverhead    = 50
)

// A backend carries pod traffic to the other nodes.
type backend interface {
	data() string                 // what the other nodes need, as JSON
	mtu() int                     // of the pods' interfaces
	apply(peers map[string]*peer) // makes the kernel reach exactly these peers
}

func newBackend(config *netConf, outside *outsideInterface, own *net.IPNet) (backend, error) {
	if config.Backend.Type == "host-gw" {
		return &hostGateway{outside: outside, routes: map[string]*peer{}}, nil
	}
	return newVxlan(config, outside, own)
}

// hostGateway sends to each peer's range by a plain route through the peer, which must be on the same link.
type hostGateway struct {
	outside *outsideInterface
	routes  map[string]*peer
}

func (h *hostGateway) data() string { return "null" }

func (h *hostGateway) mtu() int { return h.outside.mtu }

func (h *hostGateway) apply(peers map[string]*peer) {
	update(h.routes, peers, func(p *peer) error {
		_, err := run("ip", "route", "replace", p.subnet.String(), "via", p.public.String(), "dev", h.outside.name)
		return err
	}, func(p *peer) error {
		_, err := run("ip", "route", "del", p.subnet.String(), "via", p.public.String(), "dev", h.outside.name)
		return err
	})
}

// update makes the known peers equal to the wanted ones; what failed stays unknown and is tried at the next change.
func update(known, wanted map[string]*peer, add, remove func(*peer) error) {
	for name, old := range known {
		if same(old, wanted[name]) {
			continue
		}
		if err := remove(old); err != nil {
			log.Printf("node %s: %v", name, err)
		}
		delete(known, name)
	}
	for name, fresh := range wanted {
		if known[name] != nil {
			continue
		}
		if err := add(fresh); err != nil {
			log.Printf("node %s: %v", name, err)
			continue
		}
		log.Printf("node %s: %s through %s", name, fresh.subnet, fresh.public)
		known[name] = fresh
	}
}

// vxlan tunnels to each peer over UDP, with the neighbours and the forwarding table filled in by hand.
type vxlan struct {
	outside *outsideInterface
	device  string
	mac     string
	direct  bool
	mtuSet  int
	vni     int
	tunnels map[string]*peer
}

type vxlanData struct {
	VNI     int    `json:"VNI"`
	VtepMAC string `json:"VtepMAC"`
}

func newVxlan(config *netConf, outside *outsideInterface, own *net.IPNet) (*vxlan, error) {
	v := &vxlan{outside: outside, vni: defaultVNI, direct: config.Backend.DirectRouting, tunnels: map[string]*peer{}}
	if config.Backend.VNI != nil {
		v.vni = *config.Backend.VNI
	}
	port := defaultVxlanPort
	if config.Backend.Port != 0 {
		port = config.Backend.Port
	}
	v.mtuSet = outside.mtu - vxlanOverhead
	if config.Backend.MTU != 0 {
		v.mtuSet = config.Backend.MTU - vxlanOverhead
	}
	v.device = "flannel." + strconv.Itoa(v.vni)
	if err := v.makeDevice(port); err != nil {
		return nil, err
	}
	if err := v.configure(own); err != nil {
		return nil, err
	}
	return v, nil
}

type deviceState struct {
	Address  string `json:"address"`
	LinkInfo struct {
		Kind string `json:"info_kind"`
		Data struct {
			ID    int    `json:"id"`
			Link  string `json:"link"`
			Local string `json:"local"`
			Port  int    `json:"port"`
		} `json:"info_data"`
	} `json:"linkinfo"`
}

func readDevice(name string) (*deviceState, error) {
	out, err := run("ip", "-d", "-j", "link", "show", "dev", name)
	if err != nil {
		return nil, err
	}
	var found []deviceState
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 {
		return nil, fmt.Errorf("ip link show dev %s: cannot be read: %v", name, err)
	}
	return &found[0], nil
}

// makeDevice keeps a device that is as it should be, and makes any other anew.
func (v *vxlan) makeDevice(port int) error {
	if _, err := net.InterfaceByName(v.device); err == nil {
		there, err := readDevice(v.device)
		if err != nil {
			return err
		}
		info := there.LinkInfo.Data
		if there.LinkInfo.Kind == "vxlan" && info.ID == v.vni && info.Link == v.outside.name &&
			info.Local == v.outside.address.String() && info.Port == port {
			v.mac = there.Address
			return nil
		}
		log.Printf("%s exists with other settings, making it anew", v.device)
		if _, err := run("ip", "link", "del", v.device); err != nil {
			return err
		}
	}
	if _, err := run("ip", "link", "add", v.device, "type", "vxlan", "id", strconv.Itoa(v.vni), "dev", v.outside.name,
		"local", v.outside.address.String(), "dstport", strconv.Itoa(port), "nolearning"); err != nil {
		return err
	}
	made, err := readDevice(v.device)
	if err != nil {
		return err
	}
	v.mac = made.Address
	return nil
}

// configure gives the device the base address of this host's range, and nothing from an earlier life.
func (v *vxlan) configure(own *net.IPNet) error {
	for _, arguments := range [][]string{
		{"addr", "flush", "dev", v.device},
		{"addr", "add", own.IP.String() + "/32", "dev", v.device},
		{"link", "set", v.device, "mtu", strconv.Itoa(v.mtuSet), "up"},
		{"route", "flush", "dev", v.device},
		{"neigh", "flush", "nud", "permanent", "dev", v.device},
	} {
		if _, err := run("ip", arguments...); err != nil {
			return err
		}
	}
	return nil
}

func (v *vxlan) data() string {
	text, err := json.Marshal(vxlanData{v.vni, v.mac})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (v *vxlan) mtu() int { return v.mtuSet }

func (v *vxlan) apply(peers map[string]*peer) { update(v.tunnels, peers, v.add, v.remove) }

// routesDirectly tells whether DirectRouting lets a peer on the same link be reached without the tunnel.
func (v *vxlan) routesDirectly(p *peer) bool { return v.direct && v.outside.network.Contains(p.public) }

func (v *vxlan) peerMAC(p *peer) (string, error) {
	var told vxlanData
	if err := json.Unmarshal(p.data, &told); err != nil {
		return "", fmt.Errorf("error decoding subnet lease JSON: %v", err)
	}
	if told.VNI != v.vni {
		return "", fmt.Errorf("VNI %d, not %d", told.VNI, v.vni)
	}
	mac, err := net.ParseMAC(told.VtepMAC)
	if err != nil {
		return "", err
	}
	return mac.String(), nil
}

func (v *vxlan) add(p *peer) error {
	if v.routesDirectly(p) {
		_, err := run("ip", "route", "replace", p.subnet.String(), "via", p.public.String(), "dev", v.outside.name)
		return err
	}
	mac, err := v.peerMAC(p)
	if err != nil {
		return err
	}
	base := p.subnet.IP.String()
	if _, err := run("ip", "neigh", "replace", base, "lladdr", mac, "dev", v.device, "nud", "permanent"); err != nil {
		return err
	}
	if _, err := run("bridge", "fdb", "replace", mac, "dev", v.device, "dst", p.public.String(), "self", "permanent"); err != nil {
		return err
	}
	_, err = run("ip", "route", "replace", p.subnet.String(), "via", base, "dev", v.device, "onlink")
	return err
}

func (v *vxlan) remove(p *peer) error {
	if v.routesDirectly(p) {
		_, err := run("ip", "route", "del", p.subnet.String(), "via", p.public.String(), "dev", v.outside.name)
		return err
	}
	mac, err := v.peerMAC(p)
	if err != nil {
		return err
	}
	base := p.subnet.IP.String()
	_, first := run("ip", "route", "del", p.subnet.String(), "via", base, "dev", v.device)
	if _, err := run("bridge", "fdb", "del", mac, "dev", v.device, "dst", p.public.String(), "self"); first == nil {
		first = err
	}
	if _, err := run("ip", "neigh", "del", base, "lladdr", mac, "dev", v.device); first == nil {
		first = err
	}
	return first
}
