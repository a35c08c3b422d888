//! Debian's docker-registry on a free loopback port, ended with the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// User `user`, password `hunter2`, as bcrypt of the lowest cost.
const HTPASSWD: &str = "user:$2b$04$dB6WbWnbYD1svTZVslbCcup7CXi5UdLlo7hCrXdcOsSHPA4xXF4fm\n";

pub struct Registry {
    child: Child,
    pub host: String,
}

impl Registry {
    pub fn start(dir: &Path) -> Registry {
        Registry::start_with(dir, "")
    }

    /// A registry that lets in only the user above.
    pub fn start_with_users(dir: &Path) -> Registry {
        let users = dir.join("htpasswd");
        fs::write(&users, HTPASSWD).expect("write the users");
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            users.display()
        );
        Registry::start_with(dir, &auth)
    }

    fn start_with(dir: &Path, more: &str) -> Registry {
        let config = dir.join("registry.yml");
        let data = dir.join("registry-data");
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: text, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n{more}",
            data.display()
        );
        fs::write(&config, text).expect("write the registry's configuration");
        let mut child = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start docker-registry (Debian package docker-registry)");
        let log = BufReader::new(child.stderr.take().expect("piped above"));
        let mut lines = log.lines();
        let mut seen = Vec::new();
        let host = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let host = line.split_once("listening on ").map(|(_, rest)| {
                rest.chars()
                    .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
                    .collect()
            });
            seen.push(line);
            host
        });
        let host: String = host.unwrap_or_else(|| panic!("the registry did not start: {seen:#?}"));
        // Read on, so that it never waits for us; ends with the registry.
        std::thread::spawn(move || lines.for_each(drop));
        Registry { child, host }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
