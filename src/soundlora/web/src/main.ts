import { mount } from 'svelte'
import App from './App.svelte'
import { language } from './lib/words'
import './styles.css'

document.documentElement.lang = language

mount(App, { target: document.getElementById('page')! })
