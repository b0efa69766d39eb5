// Program flannel stands in for Flannel's CNI plugin, which Debian does not package: it reads what flanneld wrote
// about this host's pod range and has the real bridge and host-local plugins do the work.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	defaultSubnetFile = "/run/flannel/subnet.env"
	defaultDataDir    = "/var/lib/cni/flannel"
)

type configuration struct {
	CNIVersion string                 `json:"cniVersion"`
	Name       string                 `json:"name"`
	SubnetFile string                 `json:"subnetFile"`
	DataDir    string                 `json:"dataDir"`
	Delegate   map[string]interface{} `json:"delegate"`
}

type subnet struct {
	network string
	subnet  string
	mtu     int
	ipMasq  bool
}

func readConfiguration(input io.Reader) (*configuration, error) {
	config := &configuration{SubnetFile: defaultSubnetFile, DataDir: defaultDataDir}
	if err := json.NewDecoder(input).Decode(config); err != nil {
		return nil, fmt.Errorf("failed to load netconf: %v", err)
	}
	if config.Delegate == nil {
		config.Delegate = map[string]interface{}{}
	}
	if kind, there := config.Delegate["type"]; there {
		if _, ok := kind.(string); !ok {
			return nil, errors.New("'delegate' dictionary, if present, must have (string) 'type' field")
		}
	}
	for _, key := range []string{"name", "ipam"} {
		if _, there := config.Delegate[key]; there {
			return nil, fmt.Errorf("'delegate' dictionary must not have '%s' field, it'll be set by flannel", key)
		}
	}
	return config, nil
}

func readSubnet(path string) (*subnet, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loadFlannelSubnetEnv failed: %v", err)
	}
	defer file.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[key] = value
		}
	}
	for _, key := range []string{"FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"} {
		if values[key] == "" {
			return nil, fmt.Errorf("%s is missing %s", path, key)
		}
	}
	// FLANNEL_SUBNET is written with the bridge's own address; the range behind it is meant.
	_, own, err := net.ParseCIDR(values["FLANNEL_SUBNET"])
	if err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	found := &subnet{network: values["FLANNEL_NETWORK"], subnet: own.String()}
	if found.mtu, err = strconv.Atoi(values["FLANNEL_MTU"]); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	if found.ipMasq, err = strconv.ParseBool(values["FLANNEL_IPMASQ"]); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return found, nil
}

func setDefault(delegate map[string]interface{}, key string, value interface{}) {
	if _, there := delegate[key]; !there {
		delegate[key] = value
	}
}

// delegateConfiguration is what the plugin that does the work is given.
func delegateConfiguration(config *configuration, found *subnet) ([]byte, error) {
	delegate := config.Delegate
	delegate["name"] = config.Name
	if config.CNIVersion != "" {
		delegate["cniVersion"] = config.CNIVersion
	}
	setDefault(delegate, "type", "bridge")
	setDefault(delegate, "ipMasq", !found.ipMasq)
	setDefault(delegate, "mtu", found.mtu)
	if delegate["type"] == "bridge" {
		setDefault(delegate, "isGateway", true)
	}
	delegate["ipam"] = map[string]interface{}{
		"type":   "host-local",
		"ranges": [][]map[string]string{{{"subnet": found.subnet}}},
		"routes": []map[string]string{{"dst": found.network}},
	}
	return json.Marshal(delegate)
}

func findPlugin(name string) (string, error) {
	if name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("invalid plugin name: %q", name)
	}
	for _, folder := range filepath.SplitList(os.Getenv("CNI_PATH")) {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("failed to find plugin %q in path [%s]", name, os.Getenv("CNI_PATH"))
}

// delegateTo runs the plugin that the configuration names, with this plugin's own environment and output.
func delegateTo(delegate []byte) error {
	var named struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(delegate, &named); err != nil {
		return err
	}
	path, err := findPlugin(named.Type)
	if err != nil {
		return err
	}
	plugin := exec.Command(path)
	plugin.Stdin, plugin.Stdout, plugin.Stderr = bytes.NewReader(delegate), os.Stdout, os.Stderr
	err = plugin.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(1) // the plugin itself has printed the error
	}
	return err
}

func add(config *configuration, container string) error {
	found, err := readSubnet(config.SubnetFile)
	if err != nil {
		return err
	}
	delegate, err := delegateConfiguration(config, found)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config.DataDir, container), delegate, 0o600); err != nil {
		return err
	}
	return delegateTo(delegate)
}

// del undoes add by what add kept; a container that was never added is no error.
func del(config *configuration, container string) error {
	kept := filepath.Join(config.DataDir, container)
	delegate, err := os.ReadFile(kept)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := delegateTo(delegate); err != nil {
		return err
	}
	return os.Remove(kept)
}

func run() error {
	command := os.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		_, err := fmt.Println(`{"cniVersion":"1.0.0","supportedVersions":` +
			`["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0"]}`)
		return err
	}
	container := os.Getenv("CNI_CONTAINERID")
	if container == "" || strings.ContainsAny(container, "/\x00") || container[0] == '.' {
		return errors.New("required env variables [CNI_CONTAINERID] missing or invalid")
	}
	config, err := readConfiguration(os.Stdin)
	if err != nil {
		return err
	}
	switch command {
	case "ADD":
		return add(config, container)
	case "DEL":
		return del(config, container)
	case "CHECK":
		return nil
	}
	return fmt.Errorf("unknown CNI_COMMAND: %q", command)
}

func main() {
	if err := run(); err != nil {
		json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"cniVersion": "0.3.1", "code": 100, "msg": err.Error()})
		os.Exit(1)
	}
}
