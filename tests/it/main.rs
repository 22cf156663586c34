//! The whole of Larder over real sockets.

mod cli;
