// Package api is the little of a Kubernetes client that the stand-ins need: a pod's service account, GET, PATCH and
// watch over HTTPS with JSON. Used by the stand-ins for CoreDNS and Flannel alone.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// A Client talks to the API server of the cluster that the pod runs in.
type Client struct {
	base  string
	plain *http.Client
}

// StatusError is an answer of the API server other than success.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("API server answered %d: %s", e.Code, e.Text)
}

// InCluster makes a client from the pod's environment and service account.
func InCluster() (*Client, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and " +
			"KUBERNETES_SERVICE_PORT must be defined")
	}
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New(account + "ca.crt holds no certificate")
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
		ResponseHeaderTimeout: 15 * time.Second,
	}
	return &Client{base: "https://" + net.JoinHostPort(host, port), plain: &http.Client{Transport: transport}}, nil
}

// do sends a request and returns the body of a successful answer, which the caller closes. The token is read each
// time: the kubelet may have renewed it.
func (c *Client) do(ctx context.Context, method, path, kind string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	request.Header.Set("Accept", "application/json")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := c.plain.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		answer.Body.Close()
		return nil, &StatusError{answer.StatusCode, string(bytes.TrimSpace(text))}
	}
	return answer.Body, nil
}

func (c *Client) decode(method, path, kind string, body []byte, into interface{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := c.do(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	return json.NewDecoder(answer).Decode(into)
}

// Get reads one object or list.
func (c *Client) Get(path string, into interface{}) error {
	return c.decode(http.MethodGet, path, "", nil, into)
}

// Patch changes one object by a strategic merge patch.
func (c *Client) Patch(path string, patch interface{}) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	var ignored json.RawMessage
	return c.decode(http.MethodPatch, path, "application/strategic-merge-patch+json", body, &ignored)
}

// An Event is one line of a watch.
type Event struct {
	Type   string
	Object json.RawMessage
}

// Watch hands every event of the watch at path to seen, until seen fails or the API server ends the watch.
func (c *Client) Watch(path string, seen func(Event) error) error {
	answer, err := c.do(context.Background(), http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	lines := json.NewDecoder(answer)
	for {
		var event Event
		if err := lines.Decode(&event); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := seen(event); err != nil {
			return err
		}
	}
}
