// Program web is the lab's test pod: it answers every HTTP request with its pod's name and address.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

// podAddress is the first global unicast IPv4 address of the pod.
func podAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "unknown"
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	return "none"
}

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pod %s address %s client %s\n", name, podAddress(), r.RemoteAddr)
	})
	log.Fatal(http.ListenAndServe(":80", nil))
}
