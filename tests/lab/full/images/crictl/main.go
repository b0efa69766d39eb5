// Program crictl stands in for the tool of that name, which Debian does not package. It has the commands that kubeadm
// runs and those that a person at a lab host wants, and speaks the real CRI to the runtime. It is built inside
// Kubernetes' own source tree, whose CRI client it uses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"sigs.k8s.io/yaml"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
	"k8s.io/kubernetes/pkg/kubelet/cri/remote"
	"k8s.io/kubernetes/pkg/kubelet/util"
)

const configPath = "/etc/crictl.yaml"

// settings are the connection's, from the command line or from the file.
type settings struct {
	RuntimeEndpoint string `json:"runtime-endpoint"`
	ImageEndpoint   string `json:"image-endpoint"`
	Timeout         int    `json:"timeout"`
}

type command struct {
	name  string
	usage string
	run   func(*session, []string) error
}

var commands = []command{
	{"info", "info: the runtime's status", info},
	{"version", "version: of the runtime", version},
	{"pods", "pods [-q]: the pod sandboxes", pods},
	{"ps", "ps [-a] [-q]: the containers", containers},
	{"images", "images [-q]: the images", images},
	{"inspecti", "inspecti IMAGE...: the status of images", inspectImages},
	{"pull", "pull IMAGE: fetch an image", pull},
	{"rmi", "rmi IMAGE...: remove images", removeImages},
	{"stopp", "stopp POD...: stop pod sandboxes", stopPods},
	{"rmp", "rmp [-f] POD...: remove pod sandboxes, with -f also running ones", removePods},
}

// session connects lazily: each command needs one of the two services.
type session struct{ settings }

func (s *session) timeout() time.Duration { return time.Duration(s.Timeout) * time.Second }

func (s *session) runtime() (cri.RuntimeService, error) {
	return remote.NewRemoteRuntimeService(s.RuntimeEndpoint, s.timeout())
}

func (s *session) imageService() (cri.ImageManagerService, error) {
	return remote.NewRemoteImageService(s.ImageEndpoint, s.timeout())
}

func printJSON(value interface{}) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

// info tells the status and, as the real tool does, whatever else the runtime says of itself, each under its name: that
// of containerd has its configuration under "config". Kubernetes' own client does not ask for it.
func info(s *session, _ []string) error {
	address, dialer, err := util.GetAddressAndDialer(s.RuntimeEndpoint)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout())
	defer cancel()
	connection, err := grpc.DialContext(ctx, address, grpc.WithInsecure(), grpc.WithBlock(), grpc.WithContextDialer(dialer))
	if err != nil {
		return fmt.Errorf("connecting to %s: %v", s.RuntimeEndpoint, err)
	}
	defer connection.Close()
	answer, err := runtimeapi.NewRuntimeServiceClient(connection).Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return fmt.Errorf("getting status of runtime: %v", err)
	}
	told := map[string]interface{}{"status": answer.Status}
	for name, text := range answer.Info {
		var value interface{}
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		told[name] = value
	}
	return printJSON(told)
}

func version(s *session, _ []string) error {
	service, err := s.runtime()
	if err != nil {
		return err
	}
	answer, err := service.Version("v1alpha2")
	if err != nil {
		return fmt.Errorf("getting the runtime version: %v", err)
	}
	fmt.Printf("Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n", answer.Version,
		answer.RuntimeName, answer.RuntimeVersion, answer.RuntimeApiVersion)
	return nil
}

// flags parses a command's own flags; the names are the real tool's.
func flags(name string, arguments []string, known map[string]*bool) ([]string, error) {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	for letter, value := range known {
		set.BoolVar(value, letter, false, "")
	}
	if err := set.Parse(arguments); err != nil {
		return nil, err
	}
	return set.Args(), nil
}

func short(id string) string {
	if len(id) > 13 {
		return id[:13]
	}
	return id
}

func pods(s *session, arguments []string) error {
	var quiet bool
	if _, err := flags("pods", arguments, map[string]*bool{"q": &quiet}); err != nil {
		return err
	}
	service, err := s.runtime()
	if err != nil {
		return err
	}
	list, err := service.ListPodSandbox(nil)
	if err != nil {
		return fmt.Errorf("listing pod sandboxes: %v", err)
	}
	for _, pod := range list {
		if quiet {
			fmt.Println(pod.Id)
			continue
		}
		fmt.Printf("%-15s %-10s %-40s %s\n", short(pod.Id), strings.TrimPrefix(pod.State.String(), "SANDBOX_"),
			pod.Metadata.Name, pod.Metadata.Namespace)
	}
	return nil
}

func containers(s *session, arguments []string) error {
	var all, quiet bool
	if _, err := flags("ps", arguments, map[string]*bool{"a": &all, "q": &quiet}); err != nil {
		return err
	}
	service, err := s.runtime()
	if err != nil {
		return err
	}
	var filter *runtimeapi.ContainerFilter
	if !all {
		running := &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}
		filter = &runtimeapi.ContainerFilter{State: running}
	}
	list, err := service.ListContainers(filter)
	if err != nil {
		return fmt.Errorf("listing containers: %v", err)
	}
	for _, container := range list {
		if quiet {
			fmt.Println(container.Id)
			continue
		}
		fmt.Printf("%-15s %-10s %-28s %s\n", short(container.Id), strings.TrimPrefix(container.State.String(), "CONTAINER_"),
			container.Metadata.Name, container.Labels["io.kubernetes.pod.name"])
	}
	return nil
}

func images(s *session, arguments []string) error {
	var quiet bool
	if _, err := flags("images", arguments, map[string]*bool{"q": &quiet}); err != nil {
		return err
	}
	service, err := s.imageService()
	if err != nil {
		return err
	}
	list, err := service.ListImages(nil)
	if err != nil {
		return fmt.Errorf("listing images: %v", err)
	}
	for _, image := range list {
		if quiet {
			fmt.Println(image.Id)
			continue
		}
		fmt.Printf("%-60s %6d KB\n", strings.Join(image.RepoTags, " "), image.Size_/1024)
	}
	return nil
}

// findImage is the status of one image, or an error where the runtime does not have it.
func findImage(service cri.ImageManagerService, name string) (*runtimeapi.Image, error) {
	image, err := service.ImageStatus(&runtimeapi.ImageSpec{Image: name})
	if err != nil {
		return nil, fmt.Errorf("image status for %q: %v", name, err)
	}
	if image == nil {
		return nil, fmt.Errorf("no such image %q present", name)
	}
	return image, nil
}

// eachImage runs one action for every image named.
func eachImage(s *session, names []string, act func(cri.ImageManagerService, *runtimeapi.Image) error) error {
	if len(names) == 0 {
		return errors.New("IMAGE cannot be empty")
	}
	service, err := s.imageService()
	if err != nil {
		return err
	}
	for _, name := range names {
		image, err := findImage(service, name)
		if err != nil {
			return err
		}
		if err := act(service, image); err != nil {
			return err
		}
	}
	return nil
}

func inspectImages(s *session, names []string) error {
	return eachImage(s, names, func(_ cri.ImageManagerService, image *runtimeapi.Image) error {
		return printJSON(map[string]interface{}{"status": image})
	})
}

func removeImages(s *session, names []string) error {
	return eachImage(s, names, func(service cri.ImageManagerService, image *runtimeapi.Image) error {
		return service.RemoveImage(&runtimeapi.ImageSpec{Image: image.Id})
	})
}

func pull(s *session, names []string) error {
	if len(names) != 1 {
		return errors.New("pull takes one IMAGE")
	}
	service, err := s.imageService()
	if err != nil {
		return err
	}
	reference, err := service.PullImage(&runtimeapi.ImageSpec{Image: names[0]}, nil, nil)
	if err != nil {
		return fmt.Errorf("pulling image: %v", err)
	}
	fmt.Printf("Image is up to date for %s\n", reference)
	return nil
}

// findPod turns the start of an id into the pod sandbox it means.
func findPod(service cri.RuntimeService, start string) (*runtimeapi.PodSandbox, error) {
	list, err := service.ListPodSandbox(&runtimeapi.PodSandboxFilter{Id: start})
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%d pod sandboxes match %q", len(list), start)
	}
	return list[0], nil
}

// eachPod runs one action for every pod sandbox named.
func eachPod(s *session, starts []string, act func(cri.RuntimeService, *runtimeapi.PodSandbox) error) error {
	if len(starts) == 0 {
		return errors.New("POD cannot be empty")
	}
	service, err := s.runtime()
	if err != nil {
		return err
	}
	for _, start := range starts {
		pod, err := findPod(service, start)
		if err != nil {
			return err
		}
		if err := act(service, pod); err != nil {
			return fmt.Errorf("pod sandbox %s: %v", pod.Id, err)
		}
	}
	return nil
}

func stopPods(s *session, starts []string) error {
	return eachPod(s, starts, func(service cri.RuntimeService, pod *runtimeapi.PodSandbox) error {
		if err := service.StopPodSandbox(pod.Id); err != nil {
			return err
		}
		fmt.Printf("Stopped sandbox %s\n", pod.Id)
		return nil
	})
}

func removePods(s *session, arguments []string) error {
	var force bool
	starts, err := flags("rmp", arguments, map[string]*bool{"f": &force})
	if err != nil {
		return err
	}
	return eachPod(s, starts, func(service cri.RuntimeService, pod *runtimeapi.PodSandbox) error {
		if pod.State == runtimeapi.PodSandboxState_SANDBOX_READY && !force {
			return errors.New("is running, please stop it first")
		}
		if err := service.StopPodSandbox(pod.Id); err != nil {
			return err
		}
		if err := service.RemovePodSandbox(pod.Id); err != nil {
			return err
		}
		fmt.Printf("Removed sandbox %s\n", pod.Id)
		return nil
	})
}

// readSettings reads the file, over which the command line then goes.
func readSettings() (settings, error) {
	s := settings{RuntimeEndpoint: "unix:///run/containerd/containerd.sock", Timeout: 2}
	text, err := os.ReadFile(configPath)
	if err != nil && !os.IsNotExist(err) {
		return s, err
	}
	if err := yaml.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %v", configPath, err)
	}
	return s, nil
}

// asURL accepts a bare socket path, as the real tool does.
func asURL(endpoint string) string {
	if filepath.IsAbs(endpoint) {
		return "unix://" + endpoint
	}
	return endpoint
}

func usage() {
	fmt.Fprint(os.Stderr, "usage: crictl [-r ENDPOINT] [-i ENDPOINT] [-t SECONDS] COMMAND ...  (a stand-in)\n")
	for _, one := range commands {
		fmt.Fprintf(os.Stderr, "  %s\n", one.usage)
	}
}

func run() error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	var runtime, image string
	for _, name := range []string{"r", "runtime-endpoint"} {
		flag.StringVar(&runtime, name, "", "")
	}
	for _, name := range []string{"i", "image-endpoint"} {
		flag.StringVar(&image, name, "", "")
	}
	for _, name := range []string{"t", "timeout"} {
		flag.IntVar(&s.Timeout, name, s.Timeout, "")
	}
	flag.Usage = usage
	flag.Parse()
	if runtime != "" {
		s.RuntimeEndpoint, s.ImageEndpoint = runtime, runtime
	}
	if image != "" {
		s.ImageEndpoint = image
	}
	if s.ImageEndpoint == "" {
		s.ImageEndpoint = s.RuntimeEndpoint
	}
	s.RuntimeEndpoint, s.ImageEndpoint = asURL(s.RuntimeEndpoint), asURL(s.ImageEndpoint)
	for _, one := range commands {
		if one.name == flag.Arg(0) {
			return one.run(&session{s}, flag.Args()[1:])
		}
	}
	usage()
	return fmt.Errorf("no such command: %q", flag.Arg(0))
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "FATA[0000] %v\n", err)
		os.Exit(1)
	}
}
