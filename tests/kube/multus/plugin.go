// Package multus pins the Multus CNI plugin that tests run: `build` compiles the program itself.
// The modules of Kubernetes are those of ../servers where Multus compiles with them, so that most
// of what it needs has been compiled for the control plane already.
package multus

import _ "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/multus"
