"""Many methods side by side: the recipe (`spec`), its runs (`runs`), what is gathered from them (`collect`), the command (`job`)."""
