//! What lies beside the binary. The binary itself is asked for what it knows.

use std::path::Path;
use std::process::Command;

use xtask::Result;

use crate::tree::{Tree, gzip};
use crate::{Release, text};
use xtask::cargo::workspace;
use xtask::connectors::Connector;

/// The tree that the tarball has, and the Debian package takes apart again.
pub(crate) struct Files {
    pub(crate) binary: Vec<u8>,
    pub(crate) completions: Vec<(&'static str, Vec<u8>)>,
    pub(crate) man: Vec<u8>,
    pub(crate) example: Vec<u8>,
    pub(crate) schema: Vec<u8>,
    pub(crate) unit: String,
    pub(crate) page: String,
    pub(crate) changes: String,
    pub(crate) licence: String,
    name: String,
}

/// What the connector's binary for this machine prints.
fn ask(speaker: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let answer = Command::new(speaker).args(arguments).output()?;
    if !answer.status.success() {
        return Err(format!(
            "{} {}: {}",
            speaker.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&answer.stderr)
        )
        .into());
    }
    Ok(answer.stdout)
}

/// A configuration with every setting.
pub(crate) fn example(speaker: &Path) -> Result<Vec<u8>> {
    ask(speaker, &["config", "example"])
}

/// `speaker` is the connector's binary for this machine.
pub(crate) fn of(release: &Release<'_>, speaker: &Path, binary: Vec<u8>) -> Result<Files> {
    let connector = release.connector;
    let shells = ["bash", "zsh", "fish"];
    let completions = shells.into_iter().map(|shell| Ok((shell, ask(speaker, &["completions", shell])?)));
    Ok(Files {
        binary,
        completions: completions.collect::<Result<_>>()?,
        man: ask(speaker, &["man"])?,
        example: example(speaker)?,
        schema: ask(speaker, &["config", "schema"])?,
        unit: unit(connector),
        page: text(&workspace().join("docs/connectors").join(format!("{}.md", connector.name)))?,
        changes: text(connector.folder.join("CHANGELOG.md").as_std_path())?,
        licence: text(&workspace().join("LICENSE"))?,
        name: connector.package.clone(),
    })
}

impl Files {
    /// The tarball's contents, in one folder.
    pub(crate) fn archive(&self, folder: &str, epoch: u64) -> Result<Vec<u8>> {
        let mut tree = Tree::default();
        tree.add(self.name.clone(), 0o755, self.binary.clone());
        tree.add("LICENSE", 0o644, self.licence.clone());
        tree.add("README.md", 0o644, self.page.clone());
        tree.add("CHANGELOG.md", 0o644, self.changes.clone());
        tree.add("openconnect.example.yaml", 0o644, self.example.clone());
        tree.add("openconnect.schema.json", 0o644, self.schema.clone());
        tree.add(format!("man/{}.1", self.name), 0o644, self.man.clone());
        tree.add(format!("systemd/{}@.service", self.name), 0o644, self.unit.clone());
        for (shell, bytes) in &self.completions {
            tree.add(format!("completions/{}.{shell}", self.name), 0o644, bytes.clone());
        }
        tree.tar(&format!("{folder}/"), epoch)
    }

    /// Where Debian has each of them.
    pub(crate) fn installed(&self) -> Result<Tree> {
        let name = &self.name;
        let mut tree = Tree::default();
        tree.add(format!("usr/bin/{name}"), 0o755, self.binary.clone());
        tree.add(format!("usr/lib/systemd/system/{name}@.service"), 0o644, self.unit.clone());
        tree.add(format!("usr/share/man/man1/{name}.1.gz"), 0o644, gzip(&self.man)?);
        tree.add(format!("usr/share/{name}/openconnect.schema.json"), 0o644, self.schema.clone());
        let doc = format!("usr/share/doc/{name}");
        tree.add(format!("{doc}/examples/openconnect.yaml"), 0o644, self.example.clone());
        tree.add(format!("{doc}/README.md.gz"), 0o644, gzip(self.page.as_bytes())?);
        tree.add(format!("{doc}/changelog.gz"), 0o644, gzip(self.changes.as_bytes())?);
        tree.add(format!("{doc}/copyright"), 0o644, copyright());
        for (shell, bytes) in &self.completions {
            let place = match *shell {
                "bash" => format!("usr/share/bash-completion/completions/{name}"),
                "zsh" => format!("usr/share/zsh/vendor-completions/_{name}"),
                _ => format!("usr/share/fish/vendor_completions.d/{name}.fish"),
            };
            tree.add(place, 0o644, bytes.clone());
        }
        // Configurations may hold secrets.
        tree.folders.insert(format!("etc/{name}"), (0o750, 0));
        Ok(tree)
    }
}

fn copyright() -> &'static str {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
     Upstream-Name: EventMesh connectors in Rust\n\
     \n\
     Files: *\n\
     Copyright: The Apache Software Foundation\n\
     License: Apache-2.0\n \
     On Debian systems, the full text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n"
}

/// A service for each configuration: `systemctl enable --now openconnect-http-sink@orders` runs `/etc/openconnect-http-sink/orders.yaml`.
fn unit(connector: &Connector) -> String {
    let (name, description) = (&connector.package, &connector.description);
    format!(
        "[Unit]
Description={description} (%i)
Documentation=man:{name}(1)
After=network-online.target
Wants=network-online.target
# The connector waits for its mesh and its target by itself; what ends it is tried again for ever.
StartLimitIntervalSec=0

[Service]
Type=notify
# Read as root and handed over, so that files with secrets need not be readable by others.
LoadCredential=openconnect.yaml:/etc/{name}/%i.yaml
EnvironmentFile=-/etc/{name}/%i.env
ExecStart=/usr/bin/{name} run --config %d/openconnect.yaml
StateDirectory={name}
StateDirectoryMode=0700
WorkingDirectory=/var/lib/{name}
Restart=always
RestartSec=2
# The configuration is wrong: only a person can help.
RestartPreventExitStatus=78
# Ready is ready: with the mesh down that may take long, and killing it would not help.
TimeoutStartSec=infinity
# More than `delivery.shutdown_timeout`.
TimeoutStopSec=40
WatchdogSec=60

DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=multi-user.target
"
    )
}

/// Manifests for Kubernetes: one process with its own volume, probes, and nothing that it does not need.
///
/// The configuration is what `config example` demands.
pub(crate) fn kubernetes(connector: &Connector, example: &[u8]) -> String {
    let example = String::from_utf8_lossy(example);
    let demanded = example
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let demanded: Vec<String> = demanded.map(|line| format!("    {line}\n")).collect();
    let demanded = demanded.concat().replace("127.0.0.1:10000", "eventmesh:10000");
    let (name, version) = (&connector.package, &connector.version);
    format!(
        "# {description}.
# Put the image of {name}-{version}-oci where the cluster can pull it, and write the configuration below.
apiVersion: v1
kind: ConfigMap
metadata: {{ name: {name} }}
data:
  openconnect.yaml: |
    # `{name} config example` prints every setting. Secrets: ${{file:/run/secrets/openconnect/<key>}}
    admin: {{ listen: \"0.0.0.0:9090\" }}
    state: {{ dir: /var/lib/openconnect }}
{demanded}---
apiVersion: v1
kind: Service
metadata: {{ name: {name}, labels: {{ app.kubernetes.io/name: {name} }} }}
spec:
  clusterIP: None
  selector: {{ app.kubernetes.io/name: {name} }}
  ports: [{{ name: admin, port: 9090 }}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{ name: {name}, labels: {{ app.kubernetes.io/name: {name}, app.kubernetes.io/version: \"{version}\" }} }}
spec:
  serviceName: {name}
  # One: what more of them do is in docs/scaling.md.
  replicas: 1
  selector: {{ matchLabels: {{ app.kubernetes.io/name: {name} }} }}
  template:
    metadata:
      labels: {{ app.kubernetes.io/name: {name} }}
      annotations: {{ prometheus.io/scrape: \"true\", prometheus.io/port: \"9090\" }}
    spec:
      automountServiceAccountToken: false
      # More than `delivery.shutdown_timeout`.
      terminationGracePeriodSeconds: 40
      securityContext: {{ runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {{ type: RuntimeDefault }} }}
      containers:
        - name: connector
          image: {name}:{version}
          args: [run, --config, /etc/openconnect/openconnect.yaml]
          ports: [{{ name: admin, containerPort: 9090 }}]
          startupProbe: {{ httpGet: {{ path: /livez, port: admin }}, periodSeconds: 1, failureThreshold: 30 }}
          livenessProbe: {{ httpGet: {{ path: /livez, port: admin }}, periodSeconds: 10, failureThreshold: 6 }}
          readinessProbe: {{ httpGet: {{ path: /readyz, port: admin }}, periodSeconds: 5 }}
          resources:
            requests: {{ cpu: 50m, memory: 64Mi }}
            # `limits.memory` follows it.
            limits: {{ memory: 192Mi }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{ drop: [ALL] }}
          volumeMounts:
            - {{ name: config, mountPath: /etc/openconnect }}
            - {{ name: state, mountPath: /var/lib/openconnect }}
            - {{ name: secrets, mountPath: /run/secrets/openconnect, readOnly: true }}
      volumes:
        - {{ name: config, configMap: {{ name: {name} }} }}
        - {{ name: secrets, secret: {{ secretName: {name}, optional: true }} }}
  volumeClaimTemplates:
    - metadata: {{ name: state }}
      spec: {{ accessModes: [ReadWriteOnce], resources: {{ requests: {{ storage: 2Gi }} }} }}
",
        description = connector.description,
    )
}
