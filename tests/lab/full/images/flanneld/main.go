// Program flanneld stands in for Flannel's daemon, which Debian does not package. It takes the arguments and files of
// Flannel's own DaemonSet, chooses its interface as Flannel does, tells the other nodes through annotations on its
// Node, and sets up the real VXLAN device or host-gw routes of the kernel. It serves the kube-subnet-mgr mode with the
// backends vxlan and host-gw over IPv4 alone, and refuses everything else.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"standins/api"
)

type options struct {
	ifaces     stringList
	canReach   string
	publicIP   string
	ipMasq     bool
	forward    bool
	kubeMgr    bool
	subnetFile string
	netConf    string
}

// stringList is a flag that may be given several times.
type stringList []string

func (l *stringList) String() string { return fmt.Sprint(*l) }

func (l *stringList) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parseOptions() *options {
	o := &options{}
	flag.Var(&o.ifaces, "iface", "interface to use (IP or name) for inter-host communication")
	flag.StringVar(&o.canReach, "iface-can-reach", "", "use the interface that the route to this address goes through")
	flag.StringVar(&o.publicIP, "public-ip", "", "address accessible by other nodes")
	flag.BoolVar(&o.ipMasq, "ip-masq", false, "masquerade traffic that leaves the pod network")
	flag.BoolVar(&o.forward, "iptables-forward-rules", true, "accept forwarded traffic of the pod network")
	flag.BoolVar(&o.kubeMgr, "kube-subnet-mgr", false, "take subnets from the Nodes of Kubernetes")
	flag.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "where to tell the CNI plugin")
	flag.StringVar(&o.netConf, "net-config-path", "/etc/kube-flannel/net-conf.json", "the network's configuration")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}
	if !o.kubeMgr {
		log.Fatal("this stand-in for Flannel serves --kube-subnet-mgr alone")
	}
	return o
}

// writeSubnetFile tells the CNI plugin of this host's range, by rename so that it never reads half a file.
func writeSubnetFile(path string, network, own *net.IPNet, mtu int, masquerade bool) error {
	first := *own
	first.IP = nextAddress(own.IP)
	text := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n",
		network, &first, mtu, masquerade)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// nextAddress is the first usable address of a range, the bridge's own.
func nextAddress(base net.IP) net.IP {
	next := append(net.IP(nil), base.To4()...)
	next[3]++
	return next
}

func start(o *options) error {
	config, err := readNetConf(o.netConf)
	if err != nil {
		return err
	}
	client, err := api.InCluster()
	if err != nil {
		return fmt.Errorf("failed to create SubnetManager: %v", err)
	}
	nodes, err := newNodes(client, config.network)
	if err != nil {
		return fmt.Errorf("failed to create SubnetManager: %v", err)
	}
	outside, err := chooseInterface(o)
	if err != nil {
		return fmt.Errorf("failed to find any valid interface to use: %v", err)
	}
	log.Printf("using interface %s, address %s, MTU %d", outside.name, outside.address, outside.mtu)
	backend, err := newBackend(config, outside, nodes.own)
	if err != nil {
		return fmt.Errorf("error registering network: %v", err)
	}
	if err := nodes.announce(outside.public, config.Backend.Type, backend.data()); err != nil {
		return fmt.Errorf("error registering network: failed to acquire lease: %v", err)
	}
	if err := setRules(config.network, nodes.own, o.ipMasq, o.forward); err != nil {
		return err
	}
	if err := writeSubnetFile(o.subnetFile, config.network, nodes.own, backend.mtu(), o.ipMasq); err != nil {
		return fmt.Errorf("failed to write subnet file: %v", err)
	}
	log.Printf("wrote subnet file to %s, own range %s", o.subnetFile, nodes.own)
	nodes.follow(config.Backend.Type, backend.apply)
	return nil
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	o := parseOptions()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		log.Print("told to stop: the device and the routes stay, as Flannel leaves them")
		os.Exit(0)
	}()
	if err := start(o); err != nil {
		log.Fatal(err)
	}
}
