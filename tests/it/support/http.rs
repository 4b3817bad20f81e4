//! HTTP without a library between: tests see what is on the wire.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Time after which a test's answer is late.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place to send requests to.
pub(crate) struct Http {
    address: String,
    headers: String,
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// The head, with its names in lower case.
    pub(crate) head: String,
    /// The body, its chunks put together.
    pub(crate) body: Vec<u8>,
    /// Whether the body's end was announced: the last chunk or the whole length came.
    pub(crate) complete: bool,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Http {
    /// `url` as in `http://127.0.0.1:80`; every request carries `headers`, lines that end in CR LF.
    pub(crate) fn new(url: &str, headers: &str) -> Self {
        Self {
            address: url.strip_prefix("http://").unwrap().to_owned(),
            headers: headers.to_owned(),
        }
    }

    /// Address and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection and sends bytes.
    pub(crate) async fn open(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// The head of a request.
    pub(crate) fn head(&self, method: &str, target: &str, headers: &str) -> String {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}{headers}\r\n",
            self.address, self.headers
        )
    }

    /// Posts a body and reads the answer.
    pub(crate) async fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let length = format!("Content-Length: {}\r\n", body.len());
        let mut request = self.head("POST", target, &length).into_bytes();
        request.extend_from_slice(body);
        self.send(&request).await
    }

    /// Gets and reads the answer.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(self.head("GET", target, "").as_bytes()).await
    }

    /// Sends a whole request and reads the answer.
    pub(crate) async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.open(request).await;
        read_answer(&mut stream).await
    }
}

/// Reads a connection to its end.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is an end as well; what came before it counts.
    let _ = read.expect("the answer is late");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut answer = Answer {
        status: head[9..12].parse().unwrap(),
        head: head
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}\n", name.to_ascii_lowercase()),
                None => format!("{line}\n"),
            })
            .collect(),
        body: bytes[end + 4..].to_vec(),
        complete: false,
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.complete) = join_chunks(&bytes[end + 4..]);
    } else {
        let length: usize = answer
            .header("content-length")
            .unwrap_or("0")
            .parse()
            .unwrap();
        answer.complete = answer.body.len() == length;
    }
    answer
}

fn join_chunks(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&bytes[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return (body, true);
        }
        let chunk = &bytes[end + 2..];
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        bytes = chunk.get(length + 2..).unwrap_or_default();
    }
    (body, false)
}
