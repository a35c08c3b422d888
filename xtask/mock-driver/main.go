// Command mock-driver serves Kubernetes' own mock CSI driver on a socket, so that sutler is
// tested against a plugin that nobody here wrote. It owns only the choice of features and the
// socket; every CSI answer comes from the Kubernetes packages.
//
// The endpoint is the flag, else CSI_ENDPOINT. Each feature is on unless its flag or its
// environment variable (MOCK_ATTACH, MOCK_TOPOLOGY, MOCK_EXPANSION) says 0. Staging is always on.
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/driver"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/mock/service"
)

func on(variable string) bool { return os.Getenv(variable) != "0" }

func main() {
	klog.InitFlags(nil)
	endpoint := flag.String("endpoint", os.Getenv("CSI_ENDPOINT"), "unix:///path of the socket")
	name := flag.String("name", "mock.sutler.test", "driver name, also the node's id")
	attach := flag.Bool("attach", on("MOCK_ATTACH"), "ControllerPublishVolume is needed")
	topology := flag.Bool("topology", on("MOCK_TOPOLOGY"), "volumes are bound to the node")
	expansion := flag.Bool("expansion", on("MOCK_EXPANSION"), "both halves expand volumes")
	flag.Parse()

	path := "/" + strings.TrimLeft(strings.TrimPrefix(*endpoint, "unix:"), "/")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		log.Fatalf("remove the socket that an earlier run left: %v", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatalf("listen on %q (from endpoint %q): %v", path, *endpoint, err)
	}
	s := service.New(service.Config{
		DriverName: *name, DisableAttach: !*attach, EnableTopology: *topology,
		NodeExpansionRequired: *expansion, DisableControllerExpansion: !*expansion,
	})
	d := driver.NewCSIDriver(&driver.CSIDriverServers{Controller: s, Identity: s, Node: s})
	if err := d.Start(listener, nil); err != nil {
		log.Fatalf("serve on %q: %v", path, err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	d.Stop()
}
