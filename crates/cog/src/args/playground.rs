//! Flags of `cog playground`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PlaygroundArgs {
    /// Port to listen on; 0 is any that is free
    #[arg(short, long, default_value_t = 0)]
    pub(crate) port: u16,

    /// URL of the model's server; the page can choose another
    #[arg(long, value_name = "URL", default_value = "http://localhost:8393")]
    pub(crate) target: String,

    /// Address to listen on; the page itself is for browsers on this machine, whatever the address
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Name by which the model's server reaches this machine
    #[arg(long, value_name = "HOST", default_value = "host.docker.internal")]
    pub(crate) webhook_host: String,

    /// Leave the browser alone
    #[arg(long)]
    pub(crate) no_open: bool,
}
