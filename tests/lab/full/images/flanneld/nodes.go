package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"standins/api"
)

const annotation = "flannel.alpha.coreos.com/"

// nodes follows the Nodes of the cluster through the API server.
type nodes struct {
	client *api.Client
	name   string     // this host's Node
	own    *net.IPNet // this host's pod range
}

// peer is another node that Flannel serves.
type peer struct {
	name   string
	public net.IP
	subnet *net.IPNet
	data   json.RawMessage
}

type node struct {
	Metadata struct {
		Name            string            `json:"name"`
		Annotations     map[string]string `json:"annotations"`
		ResourceVersion string            `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR string `json:"podCIDR"`
	} `json:"spec"`
}

// ownName is the Node this pod runs on: told by NODE_NAME, else read from the pod.
func ownName(client *api.Client) (string, error) {
	if name := os.Getenv("NODE_NAME"); name != "" {
		return name, nil
	}
	pod, namespace := os.Getenv("POD_NAME"), os.Getenv("POD_NAMESPACE")
	if pod == "" || namespace == "" {
		return "", errors.New("env variables POD_NAME and POD_NAMESPACE must be set")
	}
	var found struct {
		Spec struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
	}
	if err := client.Get("/api/v1/namespaces/"+namespace+"/pods/"+pod, &found); err != nil {
		return "", fmt.Errorf("error retrieving pod spec for '%s/%s': %v", namespace, pod, err)
	}
	if found.Spec.NodeName == "" {
		return "", fmt.Errorf("node name not present in pod spec '%s/%s'", namespace, pod)
	}
	return found.Spec.NodeName, nil
}

// newNodes reads this host's own Node and its pod range, which must lie within the network.
func newNodes(client *api.Client, network *net.IPNet) (*nodes, error) {
	name, err := ownName(client)
	if err != nil {
		return nil, err
	}
	var own node
	if err := client.Get("/api/v1/nodes/"+name, &own); err != nil {
		return nil, err
	}
	if own.Spec.PodCIDR == "" {
		return nil, fmt.Errorf("node %q pod cidr not assigned", name)
	}
	_, subnet, err := net.ParseCIDR(own.Spec.PodCIDR)
	if err != nil {
		return nil, err
	}
	outer, _ := network.Mask.Size()
	inner, _ := subnet.Mask.Size()
	if !network.Contains(subnet.IP) || inner < outer {
		return nil, fmt.Errorf("subnet %q specified in the flannel net config doesn't contain %q PodCIDR of the %q node",
			network, subnet, name)
	}
	return &nodes{client: client, name: name, own: subnet}, nil
}

// announce writes the annotations by which the other nodes' Flannel reaches this one.
func (n *nodes) announce(public net.IP, backendType, data string) error {
	return n.client.Patch("/api/v1/nodes/"+n.name+"/status", map[string]interface{}{
		"metadata": map[string]interface{}{"annotations": map[string]string{
			annotation + "public-ip":           public.String(),
			annotation + "backend-type":        backendType,
			annotation + "backend-data":        data,
			annotation + "kube-subnet-manager": "true",
		}},
	})
}

// asPeer reads what another node's Flannel announced; nil where that is not complete, or of another backend.
func (n *nodes) asPeer(found *node, backendType string) *peer {
	notes := found.Metadata.Annotations
	if found.Metadata.Name == n.name || notes[annotation+"kube-subnet-manager"] != "true" ||
		notes[annotation+"backend-type"] != backendType {
		return nil
	}
	public := net.ParseIP(notes[annotation+"public-ip"]).To4()
	_, subnet, err := net.ParseCIDR(found.Spec.PodCIDR)
	data := json.RawMessage(notes[annotation+"backend-data"])
	if public == nil || err != nil || !json.Valid(data) {
		log.Printf("node %s: annotations or pod range cannot be read", found.Metadata.Name)
		return nil
	}
	return &peer{name: found.Metadata.Name, public: public, subnet: subnet, data: data}
}

// follow lists and watches the Nodes for ever, and hands the whole set of peers to apply after each change.
func (n *nodes) follow(backendType string, apply func(map[string]*peer)) {
	for {
		err := n.followOnce(backendType, apply)
		log.Printf("watch of Nodes ended (%v), listing anew", err)
		time.Sleep(time.Second) // pacing of retries towards the API server
	}
}

func (n *nodes) followOnce(backendType string, apply func(map[string]*peer)) error {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []node `json:"items"`
	}
	if err := n.client.Get("/api/v1/nodes", &list); err != nil {
		return err
	}
	peers := map[string]*peer{}
	for i := range list.Items {
		if found := n.asPeer(&list.Items[i], backendType); found != nil {
			peers[found.name] = found
		}
	}
	apply(peers)
	path := "/api/v1/nodes?watch=1&timeoutSeconds=300&resourceVersion=" + list.Metadata.ResourceVersion
	return n.client.Watch(path, func(event api.Event) error {
		if event.Type == "ERROR" {
			return fmt.Errorf("%s", event.Object)
		}
		var changed node
		if err := json.Unmarshal(event.Object, &changed); err != nil {
			return err
		}
		before := peers[changed.Metadata.Name]
		after := n.asPeer(&changed, backendType)
		if event.Type == "DELETED" {
			after = nil
		}
		if same(before, after) {
			return nil
		}
		delete(peers, changed.Metadata.Name)
		if after != nil {
			peers[after.name] = after
		}
		apply(peers)
		return nil
	})
}

func same(a, b *peer) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.public.Equal(b.public) && a.subnet.String() == b.subnet.String() && string(a.data) == string(b.data)
}
