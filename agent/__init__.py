"""The conversation: language model, graph, chat page, command line, MCP."""
