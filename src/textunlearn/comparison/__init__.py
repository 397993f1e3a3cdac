"""Many methods side by side: a comparison recipe (`spec`), its runs (`runs`), what is gathered from them (`collect`), the command (`job`)."""
