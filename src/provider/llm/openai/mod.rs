//! Chat completions as OpenAI and compatible hosts speak them.
