// Program coredns stands in for CoreDNS, which Debian does not package. It answers for the Services of the cluster it
// runs in: A records of cluster addresses, of a headless Service's endpoints, and the health and readiness probes
// that its Corefile names. Without the plugin kubernetes there it needs no cluster, and refuses all names. It forwards
// nothing: lab hosts have nowhere to forward to.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"standins/api"
)

const (
	answerSeconds = 5
	maxMessage    = 4096
)

type server struct {
	client *api.Client
	zone   []string // labels of the cluster's zone, such as "cluster", "local"

	mutex  sync.Mutex
	cached map[string]entry
}

type entry struct {
	addresses []net.IP
	found     bool
	until     time.Time
}

type service struct {
	Spec struct {
		ClusterIP string `json:"clusterIP"`
	} `json:"spec"`
}

type endpoints struct {
	Subsets []struct {
		Addresses []struct {
			IP string `json:"ip"`
		} `json:"addresses"`
	} `json:"subsets"`
}

// settings are what a Corefile of one server block says.
type settings struct {
	port   string // where names are asked for
	zone   []string
	health string // where the probe is served; "": nowhere
	ready  string
}

// after is the word that follows the first one of a line, or a plugin's default.
func after(words []string, usual string) string {
	if len(words) > 1 && words[1] != "{" {
		return words[1]
	}
	return usual
}

func parse(corefile string) (found settings, err error) {
	depth := 0
	for _, line := range strings.Split(corefile, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case depth == 0:
			if found.port != "" {
				return found, errors.New("more than one server block")
			}
			found.port = "53"
			if at := strings.LastIndex(words[0], ":"); at >= 0 {
				found.port = words[0][at+1:]
			}
		case depth == 1 && words[0] == "kubernetes":
			found.zone = strings.Split(strings.Trim(strings.ToLower(after(words, "")), "."), ".")
		case depth == 1 && words[0] == "health":
			found.health = after(words, ":8080")
		case depth == 1 && words[0] == "ready":
			found.ready = after(words, ":8181")
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
	}
	if depth != 0 || found.port == "" {
		return found, errors.New("unexpected end")
	}
	return found, nil
}

// list reads the one object of a kind with that name; CoreDNS may list but not get.
func list(client *api.Client, kind, namespace, name string, item interface{}) (bool, error) {
	var answer struct {
		Items []json.RawMessage `json:"items"`
	}
	path := "/api/v1/namespaces/" + namespace + "/" + kind + "?fieldSelector=metadata.name%3D" + name
	if err := client.Get(path, &answer); err != nil {
		return false, err
	}
	if len(answer.Items) != 1 {
		return false, nil
	}
	return true, json.Unmarshal(answer.Items[0], item)
}

func (s *server) resolve(namespace, name string) ([]net.IP, bool, error) {
	var found service
	ok, err := list(s.client, "services", namespace, name, &found)
	if err != nil || !ok {
		return nil, false, err
	}
	if found.Spec.ClusterIP != "None" {
		return []net.IP{net.ParseIP(found.Spec.ClusterIP)}, true, nil
	}
	var behind endpoints
	if ok, err = list(s.client, "endpoints", namespace, name, &behind); err != nil || !ok {
		return nil, ok, err
	}
	var addresses []net.IP
	for _, subset := range behind.Subsets {
		for _, address := range subset.Addresses {
			addresses = append(addresses, net.ParseIP(address.IP))
		}
	}
	return addresses, true, nil
}

func (s *server) lookup(namespace, name string) ([]net.IP, bool, error) {
	key := namespace + "/" + name
	s.mutex.Lock()
	known, ok := s.cached[key]
	s.mutex.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.addresses, known.found, nil
	}
	addresses, found, err := s.resolve(namespace, name)
	if err != nil {
		return nil, false, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.cached) > 1000 {
		s.cached = map[string]entry{}
	}
	s.cached[key] = entry{addresses, found, time.Now().Add(answerSeconds * time.Second)}
	return addresses, found, nil
}

// isLabel tells whether a label may be a Kubernetes name: nothing else may reach an API path.
func isLabel(label string) bool {
	for _, char := range label {
		if !(char >= 'a' && char <= 'z' || char >= '0' && char <= '9' || char == '-') {
			return false
		}
	}
	return label != ""
}

// serviceOf splits NAME.NAMESPACE.svc.ZONE; inZone tells whether the name belongs to the cluster at all.
func (s *server) serviceOf(question string) (namespace, name string, inZone bool) {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(question), "."), ".")
	head := len(labels) - len(s.zone)
	if len(s.zone) == 0 || head < 0 || strings.Join(labels[head:], ".") != strings.Join(s.zone, ".") {
		return "", "", false
	}
	if head == 3 && labels[2] == "svc" && isLabel(labels[0]) && isLabel(labels[1]) {
		return labels[1], labels[0], true
	}
	return "", "", true
}

func (s *server) answer(query []byte) []byte {
	var message dnsmessage.Message
	if message.Unpack(query) != nil || message.Response || len(message.Questions) != 1 {
		return nil
	}
	question := message.Questions[0]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true,
			RecursionDesired: message.RecursionDesired, RCode: dnsmessage.RCodeNameError},
		Questions: message.Questions,
	}
	namespace, name, inZone := s.serviceOf(question.Name.String())
	switch {
	case !inZone:
		reply.RCode = dnsmessage.RCodeRefused
	case name != "":
		s.fill(&reply, question, namespace, name)
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (s *server) fill(reply *dnsmessage.Message, question dnsmessage.Question, namespace, name string) {
	addresses, found, err := s.lookup(namespace, name)
	if err != nil {
		log.Printf("%s: %v", question.Name, err)
		reply.RCode = dnsmessage.RCodeServerFailure
		return
	}
	if !found {
		return
	}
	reply.RCode = dnsmessage.RCodeSuccess
	for _, address := range addresses {
		four := address.To4()
		if four == nil || question.Type != dnsmessage.TypeA {
			continue
		}
		var body dnsmessage.AResource
		copy(body.A[:], four)
		reply.Answers = append(reply.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class,
				TTL: answerSeconds},
			Body: &body,
		})
	}
}

func (s *server) serveDatagrams(socket net.PacketConn) error {
	for {
		query := make([]byte, maxMessage)
		size, from, err := socket.ReadFrom(query)
		if err != nil {
			return err
		}
		go func() {
			if reply := s.answer(query[:size]); reply != nil {
				socket.WriteTo(reply, from)
			}
		}()
	}
}

func (s *server) serveStream(connection net.Conn) {
	defer connection.Close()
	for {
		connection.SetDeadline(time.Now().Add(10 * time.Second))
		var size uint16
		if binary.Read(connection, binary.BigEndian, &size) != nil || size > maxMessage {
			return
		}
		query := make([]byte, size)
		if _, err := io.ReadFull(connection, query); err != nil {
			return
		}
		reply := s.answer(query)
		if reply == nil {
			return
		}
		framed := make([]byte, 2, 2+len(reply))
		binary.BigEndian.PutUint16(framed, uint16(len(reply)))
		if _, err := connection.Write(append(framed, reply...)); err != nil {
			return
		}
	}
}

func (s *server) serveStreams(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go s.serveStream(connection)
	}
}

// probes serves /health (the process lives) and /ready (the API server lets it read Services), where they are wanted.
func (s *server) probes(wanted settings) {
	health, ready := http.NewServeMux(), http.NewServeMux()
	health.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "OK") })
	ready.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if s.client == nil {
			io.WriteString(w, "OK")
		} else if _, found, err := s.lookup("default", "kubernetes"); err != nil || !found {
			http.Error(w, "the API server's own Service cannot be read", http.StatusServiceUnavailable)
		} else {
			io.WriteString(w, "OK")
		}
	})
	if wanted.health != "" {
		go func() { log.Fatal(http.ListenAndServe(wanted.health, health)) }()
	}
	if wanted.ready != "" {
		go func() { log.Fatal(http.ListenAndServe(wanted.ready, ready)) }()
	}
}

func main() {
	path := flag.String("conf", "Corefile", "the Corefile")
	flag.Parse()
	corefile, err := os.ReadFile(*path)
	if err != nil {
		log.Fatal(err)
	}
	wanted, err := parse(string(corefile))
	if err != nil {
		log.Fatalf("%s: %v", *path, err)
	}
	s := &server{zone: wanted.zone, cached: map[string]entry{}}
	if len(wanted.zone) > 0 {
		if s.client, err = api.InCluster(); err != nil {
			log.Fatal(err)
		}
	}
	datagrams, err := net.ListenPacket("udp", ":"+wanted.port)
	if err != nil {
		log.Fatal(err)
	}
	streams, err := net.Listen("tcp", ":"+wanted.port)
	if err != nil {
		log.Fatal(err)
	}
	s.probes(wanted)
	go func() { log.Fatal(s.serveStreams(streams)) }()
	log.Printf("stand-in for CoreDNS, serving %q at port %s", strings.Join(wanted.zone, "."), wanted.port)
	log.Fatal(s.serveDatagrams(datagrams))
}
