//! An endpoint of a chain that answers as a test wants it to: what real nodes do only when something is wrong.
//!
//! What contracts make of signatures is not its business: a real node says that, in `tests/recipes`.

use std::{net::SocketAddr, sync::LazyLock};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

/// What comes back to each question.
#[derive(Clone, Copy)]
pub enum Says {
    /// That a wallet with code accepts the signature, on a chain.
    Yes(u64),
    /// That it does not.
    No(u64),
    /// An HTTP status without a body.
    Status(u16),
    /// A redirection to another endpoint.
    Elsewhere(SocketAddr),
    /// A body that is no such answer.
    Body(&'static str),
    /// More than anybody wants to read.
    TooMuch,
    /// Nothing, for ever.
    Nothing,
}

/// A listening endpoint, until it is dropped.
pub struct Node {
    pub address: SocketAddr,
    asked: watch::Sender<usize>,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    pub async fn that(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = watch::Sender::new(0);
        let count = asked.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, says, count.clone()));
            }
        });
        Self { address, asked, server }
    }

    /// The entry of `chain-rpc`.
    pub fn of(&self, network: &str) -> String {
        format!("{network}=http://{}/v1/hunter2", self.address)
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Returns once it was asked.
    pub async fn until_asked(&self) {
        self.asked.subscribe().wait_for(|asked| *asked > 0).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A port that is taken, so that no test gets it, and where nobody listens.
static DEAD: LazyLock<TcpSocket> = LazyLock::new(|| {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
});

/// An address where nobody listens.
pub async fn dead(network: &str) -> String {
    format!("{network}=http://{}/v1/hunter2", DEAD.local_addr().unwrap())
}

async fn serve(mut stream: TcpStream, says: Says, asked: watch::Sender<usize>) {
    let mut request = Vec::new();
    // The end of the question's JSON.
    while !request.ends_with(b"\"latest\"]}") {
        let mut piece = [0; 4_096];
        let Ok(read @ 1..) = stream.read(&mut piece).await else { return };
        request.extend_from_slice(&piece[..read]);
    }
    asked.send_modify(|asked| *asked += 1);
    let answer = match says {
        Says::Yes(chain_id) => response("200 OK", "", &verdict(1, chain_id)),
        Says::No(chain_id) => response("200 OK", "", &verdict(0, chain_id)),
        Says::Status(status) => response(&format!("{status} Status"), "", ""),
        Says::Elsewhere(address) => {
            response("307 Elsewhere", &format!("location: http://{address}/\r\n"), "")
        }
        Says::Body(body) => response("200 OK", "", body),
        Says::TooMuch => response("200 OK", "", &format!("{}{}", verdict(1, 1), " ".repeat(100_000))),
        Says::Nothing => return std::future::pending().await,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

/// Six words: whether it is accepted, no delegation, code before, code now, chain, block 77.
fn verdict(accepted: u64, chain_id: u64) -> String {
    let words: String = [accepted, 0, 9, 9, chain_id, 77].map(|word| format!("{word:064x}")).concat();
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{words}"}}"#)
}
