//! What a request asks for is what the file holds: every parameter against plain SQL, over each format.

mod instants;
mod oracle;
