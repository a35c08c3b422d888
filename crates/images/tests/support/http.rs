//! Small servers that misbehave on purpose: one that answers by a script, one that passes
//! everything on to a registry and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a client asked: the request line and its headers.
pub type Requests = Arc<Mutex<Vec<String>>>;

/// Accepts connections on a free port until it is dropped.
pub struct Server {
    pub host: String,
    pub requests: Requests,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request with the bytes that `answer` gives for its head, then closes.
    pub fn scripted(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
        let answer = Arc::new(answer);
        Server::accept(move |mut stream, requests| {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let Some(head) = read_head(&mut stream) else {
                    return;
                };
                requests
                    .lock()
                    .expect("no test panics while holding it")
                    .push(head.clone());
                let _gone = stream.write_all(&answer(&head));
                let _gone = stream.shutdown(Shutdown::Write);
                // Until the client has closed too, so that no reset eats our answer.
                let _rest = stream.read_to_end(&mut Vec::new());
            });
        })
    }

    /// Passes everything on to `upstream`, and cuts the first `cuts` connections that have
    /// carried `bytes` of an answer to a request whose head holds `marker`.
    pub fn cutting(upstream: String, marker: String, (cuts, bytes): (usize, usize)) -> Server {
        let left = Arc::new(AtomicUsize::new(cuts));
        Server::accept(move |client, requests| {
            let server = TcpStream::connect(&upstream).expect("the registry is up");
            let armed = Arc::new(AtomicBool::new(false));
            let (up, down) = (clone(&client, &server), clone(&server, &client));
            let (marker, arm, left) = (marker.clone(), armed.clone(), left.clone());
            std::thread::spawn(move || relay_requests(up, &requests, (&marker, &arm)));
            std::thread::spawn(move || relay_answers(down, &armed, (&left, bytes)));
        })
    }

    /// The heads of all requests that hold `text`.
    pub fn requests_with(&self, text: &str) -> Vec<String> {
        let requests = self
            .requests
            .lock()
            .expect("no test panics while holding it");
        requests
            .iter()
            .filter(|head| head.contains(text))
            .cloned()
            .collect()
    }

    fn accept(serve: impl Fn(TcpStream, Requests) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind to loopback");
        let host = listener.local_addr().expect("just bound").to_string();
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Requests::default());
        let (stopped, seen) = (stop.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream, seen.clone());
            }
        });
        Server {
            host,
            requests,
            stop,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(&self.host);
    }
}

/// An answer with a body and a length that fits it.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn clone(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (
        from.try_clone().expect("a descriptor"),
        to.try_clone().expect("a descriptor"),
    )
}

fn relay_requests(
    (mut from, mut to): (TcpStream, TcpStream),
    requests: &Requests,
    (marker, armed): (&str, &AtomicBool),
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 {
            break;
        }
        let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
        armed.fetch_or(head.contains(marker), Ordering::SeqCst);
        requests
            .lock()
            .expect("no test panics while holding it")
            .push(head);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
}

fn relay_answers(
    (mut from, mut to): (TcpStream, TcpStream),
    armed: &AtomicBool,
    (left, bytes): (&AtomicUsize, usize),
) {
    let mut buffer = vec![0; 16 << 10];
    let mut carried = 0;
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
        if armed.load(Ordering::SeqCst) {
            carried += length;
        }
        let take = |left: usize| left.checked_sub(1);
        if carried >= bytes
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
        {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}
